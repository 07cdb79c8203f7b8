"""The machine image: what is installed on it, and the checks that run on a built one."""
