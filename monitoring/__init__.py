"""What a cluster does, made visible: the agent on every machine, the metrics' catalog, dashboards, diagnosis, report."""
