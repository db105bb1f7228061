"""How many file descriptors there are, and who may have them: ports come before relayed connections."""

import resource

_BASE = 96
"""For the control socket, its connections, epoll, files and the search for who has a port."""
_KEPT_FOR_PORTS = 512


class Descriptors:
    """Counts what was given out. A relayed connection is left waiting rather than a port refused."""

    def __init__(self, limit: int) -> None:
        self.limit = max(limit - _BASE, 16)
        self._kept = min(_KEPT_FOR_PORTS, self.limit // 4)
        self._used = 0

    @property
    def used(self) -> int:
        return self._used

    def take_for_port(self) -> bool:
        """Whether there is one for a port."""
        return self._take(1, self.limit)

    def take_for_relay(self, count: int) -> bool:
        """Whether there are that many for a connection, a flow or a pipe."""
        return self._take(count, self.limit - self._kept)

    def give_back(self, count: int) -> None:
        """To be called once for each that was taken."""
        self._used -= count

    def _take(self, count: int, limit: int) -> bool:
        if self._used + count > limit:
            return False
        self._used += count
        return True


def raise_limit() -> int:
    """Let this process have as many descriptors as it may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
