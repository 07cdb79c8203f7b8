"""Building blocks of the stacks, one a file. A construct knows nothing of the stack that it stands in."""
