"""A person at a terminal, joined to a container: raw mode, streams both ways, signals, detaching."""
