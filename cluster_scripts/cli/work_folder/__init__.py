"""The working folder of a submission: which files go, which must not, and the archive they become."""
