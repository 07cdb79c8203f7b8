"""The machines of the local cloud: namespaces, root file systems, their network and what pid 1 does in them."""
