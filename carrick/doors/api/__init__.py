"""The Docker Engine API: HTTP and JSON to engine calls and back. It decides nothing.

`server` owns the socket, `routing` finds the handler, `handlers` translate, `parse` and `render` are pure,
`hijack` and `streams` carry what is not a plain answer, `errors` maps the tree of errors once.
"""

from .server import ApiServer

__all__ = ["ApiServer"]
