"""What a cluster is meant to be (the cluster file) and what a deployed one says of itself (its facts).

Nothing here talks to AWS, and nothing here imports another package of this project.
"""
