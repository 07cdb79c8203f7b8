"""Programs that the benchmarks start in the trainer's environment: one rank, one switch a thing that the talk tuned."""
