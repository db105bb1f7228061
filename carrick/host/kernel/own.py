"""Remember which links this process takes down or removes, so that the monitor can tell a foreign hand.

The kernel reports a link that went, or went down, in its own name, whoever asked for it. So what we are about
to do is written down before it is done. A link's name suffices: endpoints' are new at every start, and a link
that is made or brought up again is struck off.

Rows of an FDB or of a neighbour table go in the kernel's name as well. A removal of ours is struck off by the
notification that it answers for, so that a foreign removal of the row put back since then is seen.
"""

from collections import OrderedDict
from ipaddress import ip_address
from threading import Lock

from ...model import steps
from ...model.steps import Step

_MOST = 8192
_MOST_ROWS = 65536


class OwnLinks:
    """Names of links of the daemon's namespace that we took down or removed. Used from several threads."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self._rows: OrderedDict[tuple[str, str], None] = OrderedDict()
        # Guards both.
        self._lock = Lock()

    def note(self, step: Step) -> None:
        """Take account of a step that is about to be carried out."""
        match step:
            case steps.DeleteLink(name, netns="") | steps.SetLink(name, netns="", up=False):
                self.note_name(name)
            case (
                steps.CreateBridge(name)
                | steps.CreateVeth(name)
                | steps.CreateVlan(name)
                | steps.CreateDummy(name)
                | steps.CreateVxlan(name)
                | steps.CreateWireguard(name)
                | steps.SetLink(name, netns="", up=True)
            ):
                with self._lock:
                    self._names.pop(name, None)

            case steps.RemoveFdb(link, mac, destination, netns="", bridge=bridge):
                self._note_row(link, fdb_row(mac, destination))
                if bridge:
                    self._note_row(link, bridge_row(mac))
            case steps.RemoveNeighbour(link, address, netns=""):
                self._note_row(link, neighbour_row(address))

    def take_row(self, link: str, row: str) -> bool:
        """Tell whether a row that left is one that we removed, or went with its link; strike it off."""
        with self._lock:
            if link in self._names:
                return True
            any_destination = fdb_row(row.partition(" ")[0], "")
            keys = (row,) if row.endswith(" bridge") else (row, any_destination)
            return any(self._rows.pop((link, key), True) is None for key in keys)

    def _note_row(self, link: str, row: str) -> None:
        with self._lock:
            self._rows[link, row] = None
            self._rows.move_to_end((link, row))
            while len(self._rows) > _MOST_ROWS:
                self._rows.popitem(last=False)

    def note_name(self, name: str) -> None:
        with self._lock:
            self._names[name] = None
            self._names.move_to_end(name)
            while len(self._names) > _MOST:
                self._names.popitem(last=False)

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._names


def fdb_row(mac: str, destination: str) -> str:
    """Write a VXLAN device's row; without a destination it is whatever the device has of a MAC."""
    return f"{mac} {ip_address(destination) if destination else ''}"


def bridge_row(mac: str) -> str:
    """Write the row that says to a bridge by which port a MAC is."""
    return f"{mac} bridge"


def neighbour_row(address: str) -> str:
    return str(ip_address(address))
