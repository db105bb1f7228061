"""Plan the FDB of one VXLAN device: behind which VTEP each inner MAC lives (RFC 7348, section 4.1).

A MAC has one VTEP. `ANY_MAC` has all of the network's other VTEPs: what has no row of its own, broadcast and
multicast are sent to each (head-end replication). The driver reads the rows and carries out the steps.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from ipaddress import ip_address

from ...model.errors import InvalidRequest
from ...model.steps import ANY_MAC, RemoveFdb, SetFdb, Step

Fdb = Mapping[str, Set[str]]
"""VTEP addresses by MAC, as `Kernel.read_fdb` returns them."""
FdbRow = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FdbPlan:
    """Changes in the order to make them: every `replace` (MAC, VTEP), then every `remove`."""

    replace: tuple[FdbRow, ...] = ()
    remove: tuple[FdbRow, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.replace or self.remove)

    def steps(self, link: str, *, bridge: bool = False) -> tuple[Step, ...]:
        """Return the steps for a device; with `bridge` its bridge's static rows follow (`SetFdb`)."""

        def told(mac: str) -> bool:
            return bridge and mac != ANY_MAC

        return (
            *(SetFdb(link, mac, vtep, bridge=told(mac)) for mac, vtep in self.replace),
            *(RemoveFdb(link, mac, vtep, bridge=told(mac)) for mac, vtep in self.remove),
        )


def plan_fdb(desired: Fdb, actual: Fdb, local_vtep: str) -> FdbPlan:
    """Return the changes that turn `actual` into `desired`, sorted by MAC and VTEP.

    Raises InvalidRequest if a desired row points at this host's own VTEP, is of the other address family,
    or if a MAC other than `ANY_MAC` has not one VTEP.
    """
    local = ip_address(local_vtep)
    wanted = _normalised(desired)
    for mac, vteps in sorted(wanted.items()):
        if local_vtep_text := next((vtep for vtep in vteps if ip_address(vtep) == local), None):
            raise InvalidRequest(f"the FDB row of {mac} points back at this host's VTEP {local_vtep_text}")
        if other := sorted(vtep for vtep in vteps if ip_address(vtep).version != local.version):
            raise InvalidRequest(
                f"the FDB row of {mac} points at {other[0]}, but VTEPs here are IPv{local.version}"
            )
        if mac != ANY_MAC and len(vteps) != 1:
            raise InvalidRequest(f"{mac} is behind {len(vteps)} VTEPs ({', '.join(sorted(vteps))}), not one")
    there = _normalised(actual)
    # A MAC that moved is one replace: remove-then-add would lose its frames in between.
    replace = sorted(
        (mac, vtep)
        for mac, vteps in wanted.items()
        for vtep in vteps
        if vtep not in there.get(mac, ()) or (mac != ANY_MAC and len(there[mac]) > 1)
    )
    remove = sorted(
        (mac, vtep)
        for mac, vteps in there.items()
        for vtep in vteps
        if (mac == ANY_MAC and vtep not in wanted.get(mac, ())) or mac not in wanted
    )
    return FdbPlan(tuple(replace), tuple(remove))


def _normalised(fdb: Fdb) -> dict[str, set[str]]:
    """Write MACs and addresses as the kernel shows them; a row without a VTEP is none."""
    return {mac.lower(): {str(ip_address(vtep)) for vtep in vteps} for mac, vteps in fdb.items() if vteps}
