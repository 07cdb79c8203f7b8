"""The stacks of a cluster: network, storage, cluster, monitoring. They only wire constructs together and grant."""
