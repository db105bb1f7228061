"""Carrick beside the real peers: Docker Engine and Podman, measured in one interleaved run on one machine.

Absolute times drift between runs and machines; the ratios inside one run are the result. Nothing here is
imported by Carrick, and it drives Carrick as a user does: over its socket and with its command.
"""
