"""How ranks find their place, each other and their threads."""
