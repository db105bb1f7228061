"""What people write on a command line, as the API's JSON: ports, networks, mounts, limits. Pure.

Every parser raises `ValueError` with Docker's words; nothing here reads files or asks the daemon.
"""
