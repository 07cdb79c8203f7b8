"""What holds a job back, worked out from its metrics."""
