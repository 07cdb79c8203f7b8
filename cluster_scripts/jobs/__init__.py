"""The domain: what a job, a node and a cluster are, whatever carries them. Imports nothing but the standard library."""
