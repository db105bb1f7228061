"""The daemon's HTTP client, for every door that is a client of it: synchronous and light.

`wire` and `frames` are sans-I/O; `connection` owns a socket; `api` offers requests, streams and
hijacked connections with connection reuse. It imports nothing heavier than `socket` and `json`,
because a command line pays for each import at each start.
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
