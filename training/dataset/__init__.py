"""From shards to global batches whose order is a pure function of (seed, epoch, generation)."""
