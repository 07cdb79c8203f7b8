"""Programs that run inside a machine, or on the way into one. Standard library only: they are copied into the image."""
