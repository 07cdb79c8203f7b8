"""From text files to immutable shards of tokens, and the manifest that lists them."""
