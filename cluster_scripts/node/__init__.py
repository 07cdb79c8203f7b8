"""What runs on a cluster machine: boot, the hooks that Slurm calls, the verbs that SSM brings."""
