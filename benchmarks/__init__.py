"""Each claim as a command: `python -m benchmarks.NAME` measures it, with its peers in the same run, and ends with one
JSON line. `make bench` runs them all (benchmarks/__main__.py).
"""
