"""Networks across hosts: what each host's FDB, neighbour tables and routes hold, their MTU and VNI. Pure."""
