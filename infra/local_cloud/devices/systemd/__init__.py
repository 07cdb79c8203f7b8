"""The part of systemd that cluster units use, run by pid 1 of a machine. Standard library only: it is copied into
the image.
"""
