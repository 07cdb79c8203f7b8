"""Slurm's words: what we ask it (commands, config), what it answers (parse). Pure: nothing here runs a program or
reads a file.
"""
