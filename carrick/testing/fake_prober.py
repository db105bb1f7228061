"""Ways to other nodes that are as they are told to be. Nothing is sent."""

from ..host.probing import Path


class FakeProber:
    """Every address answers, with all that is hoped for; `narrow` and `silent` are the exceptions."""

    def __init__(self) -> None:
        self.narrow: dict[str, int] = {}
        self.silent: set[str] = set()

    def open(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """There is nothing to close."""

    async def measure(self, address: str, mtu: int, *, timeout_s: float = 1.0) -> Path | None:
        if address in self.silent:
            return None
        return Path(0.1, min(mtu, self.narrow.get(address, mtu)))
