"""The daemon's HTTP client, for every door that is a client of it: synchronous and light.

`wire` and `frames` are sans-I/O; `connection` owns a socket; `api` offers requests, streams and
hijacked connections with connection reuse; `jsontext` is their JSON. Nothing here is imported at
run time but small C modules, because a command line pays for each import at each start (see
`carrick.doors.cli`).
"""

from carrick.doors.client.api import Client, Hijacked, Response
from carrick.doors.client.errors import (
    ApiError,
    BrokenReply,
    DaemonUnreachable,
    error_from_status,
)

__all__ = [
    "ApiError",
    "BrokenReply",
    "Client",
    "DaemonUnreachable",
    "Hijacked",
    "Response",
    "error_from_status",
]
