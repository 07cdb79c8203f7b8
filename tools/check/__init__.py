"""What `make check` and `make test` run; each check is one function that a person can run alone."""
