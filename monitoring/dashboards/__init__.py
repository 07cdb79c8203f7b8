"""CloudWatch dashboards as pure functions; each module can be loaded by its path, without our packages."""
