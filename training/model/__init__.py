"""The language model: its configuration, its network on MXNet, and the folder it is kept in."""
