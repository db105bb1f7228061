"""Look at the namespace that a runtime names."""

import os

_OWN = "/proc/self/ns/net"


def is_own_namespace(path: str) -> bool:
    """Tell whether a path leads to the daemon's own network namespace, the host's."""
    try:
        return os.path.samestat(os.stat(path), os.stat(_OWN))  # noqa: PTH116
    except OSError:
        return False
