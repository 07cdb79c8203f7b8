"""The ways in to a cluster, one adapter each behind `cluster_scripts.jobs.ports.Cluster`; `choose` picks."""
