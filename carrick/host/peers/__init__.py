"""Other nodes of the cluster, spoken to over their node API: mutual TLS, known by their certificates.

The server is `carrick.doors.node`. `wire` is what both send; its types are the callers'.
"""

from .addresses import DEFAULT_PORT, HostPort, parse_host_port
from .client import NodeClient, fetch_authority
from .wire import Authority, Failure, Pong, Renewal, decode, encode

__all__ = [
    "DEFAULT_PORT",
    "Authority",
    "Failure",
    "HostPort",
    "NodeClient",
    "Pong",
    "Renewal",
    "decode",
    "encode",
    "fetch_authority",
    "parse_host_port",
]
