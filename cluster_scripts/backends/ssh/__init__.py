"""An existing Slurm cluster, reached over ssh. The Slurm codec runs at the client; only here is paramiko imported."""
