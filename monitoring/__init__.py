"""What a cluster does, made visible: agent, metrics' catalog, dashboards, diagnosis, report."""
