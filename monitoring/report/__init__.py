"""One document about a finished job, for people."""
