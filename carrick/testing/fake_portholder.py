"""A `PortHolder` that binds nothing: for tests of what asks for ports."""

from collections.abc import Mapping, Sequence

from ..host.portholder.contract import HeldPort, PortKey, PortTaken, checked, overlaps
from ..model.errors import CarrickError, Unavailable


class FakePortHolder:
    """Clashes as the real one does, with its own ports and with `occupied`, the ports of other programs.

    `is_available` False makes every call fail as if the process were not there; what is held stays, as it
    would. `calls` lists the names of the methods called, in order.
    """

    def __init__(self, occupied: Mapping[HeldPort, str] | None = None) -> None:
        self.occupied = dict(occupied or {})
        self.is_available = True
        self.is_closed = False
        self.calls: list[str] = []
        self._held: dict[PortKey, tuple[str, HeldPort]] = {}

    @property
    def held(self) -> dict[str, tuple[HeldPort, ...]]:
        """What is held, by owner."""
        result: dict[str, tuple[HeldPort, ...]] = {}
        for owner, port in self._held.values():
            result[owner] = (*result.get(owner, ()), port)
        return result

    async def hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
        """See `PortHolder`."""
        self._enter("hold")
        self._hold(owner, ports)

    async def release(self, owner: str, ports: Sequence[HeldPort] | None = None) -> None:
        """See `PortHolder`."""
        self._enter("release")
        keys = None if ports is None else {checked(port).key for port in ports}
        for key, (holder, _) in list(self._held.items()):
            if holder == owner and (keys is None or key in keys):
                del self._held[key]

    async def sync(self, everything: Mapping[str, Sequence[HeldPort]]) -> Mapping[str, str]:
        """See `PortHolder`."""
        self._enter("sync")
        self._held.clear()
        problems: dict[str, list[str]] = {}
        for owner, ports in everything.items():
            for port in ports:
                try:
                    self._hold(owner, (port,))
                except CarrickError as error:
                    problems.setdefault(owner, []).append(error.message)
        return {owner: "; ".join(texts) for owner, texts in problems.items()}

    async def close(self) -> None:
        """See `PortHolder`."""
        self.is_closed = True

    def _enter(self, call: str) -> None:
        self.calls.append(call)
        if self.is_closed or not self.is_available:
            raise Unavailable("carrick-ports does not answer")

    def _hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
        held = dict(self._held)
        for port in map(checked, ports):
            if held.get(port.key, ("", port))[0] != owner:
                for holder, other in held.values():
                    if overlaps(other, port):
                        raise PortTaken(port, holder, holder)
                for other, who in self.occupied.items():
                    if overlaps(other, port):
                        raise PortTaken(port, who)
            held[port.key] = (owner, port)
        self._held = held
