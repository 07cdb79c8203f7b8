"""The cluster's own programs: the domain (jobs), Slurm's words (slurm), the ways in (backends), the command line
(cli), the machines (node).
"""
