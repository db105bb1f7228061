"""The namespaces there are and the links in them: what is made where, and what goes with what."""

from collections.abc import Iterable
from itertools import count

from ...domains.guests import HOST_NETNS
from ...model.errors import NotFound, Unsupported
from ...model.steps import Step
from .namespace import Link, Namespace
from .refusals import taken
from .sysctls import HOST_SYSCTLS


class Topology:
    """Namespaces by path, the host's own among them; `lacks` are the kinds of link that cannot be made."""

    def __init__(self, lacks: Iterable[str]) -> None:
        self.lacks = frozenset(lacks)
        self._indexes = count(1)
        self._numbers = count(1)
        self._namespaces: dict[str, Namespace] = {}
        self.make("")
        self.host.set_up(self.host.link("lo"), True)
        self.host.sysctls.update(HOST_SYSCTLS)

    @property
    def host(self) -> Namespace:
        return self._namespaces[""]

    @property
    def paths(self) -> frozenset[str]:
        """The paths at which a namespace is held."""
        return frozenset(self._namespaces) - {""}

    def namespace(self, path: str) -> Namespace:
        try:
            return self._namespaces["" if path == HOST_NETNS else path]
        except KeyError:
            raise NotFound(f"network namespace {path} does not exist") from None

    def held(self, path: str) -> Namespace | None:
        """Return the namespace at a path, or None: for removals, which then have nothing to do."""
        return self._namespaces.get(path)

    def held_link(self, name: str, path: str) -> Link | None:
        """Return a link of the namespace at a path, or None if there is no such link or namespace."""
        namespace = self.held(path)
        return namespace.links.get(name) if namespace else None

    def make(self, path: str) -> None:
        """Make a namespace, unless there is one at the path; its loopback is down."""
        if path not in self._namespaces:
            namespace = self._namespaces[path] = Namespace(next(self._numbers))
            self.add(namespace, "lo", "", mtu=65536)

    def delete(self, path: str) -> None:
        """Delete a namespace, and the links that are in it."""
        namespace = self._namespaces.pop(path, None)
        if namespace is not None:
            for link in list(namespace.links.values()):
                self.delete_link(namespace, link)

    def probe(self, kind: str, name: str) -> None:
        """Raise `Unsupported` if the kernel lacks the kind of link that `name` is to be."""
        if kind in self.lacks:
            shown = "802.1q vlan" if kind == "vlan" else kind
            instead = "the direct transport" if kind == "vxlan" else "the bridge driver"
            raise Unsupported(
                f"this kernel has no {shown} links (creating {name} was refused: Operation not supported)",
                remedy=f"load the kernel's {kind} module, or use {instead}",
            )

    def add(
        self, namespace: Namespace, name: str, kind: str, *, mac: str = "", mtu: int = 1500, alias: str = ""
    ) -> Link:
        """Add a link, which is down."""
        index = next(self._indexes)
        mac = mac or (
            "00:00:00:00:00:00" if name == "lo" else f"02:fa:ce:00:{index >> 8:02x}:{index & 255:02x}"
        )
        link = Link(name, kind, index, mac=mac, mtu=mtu, alias=alias)
        namespace.put_in(link)
        return link

    def existing(self, step: Step, name: str, kind: str, alias: str) -> Link | None:
        """Return the host's link that a step would make, if it did so before.

        Raises Conflict if the name is another's.
        """
        link = self.host.links.get(name)
        if link is not None and (link.kind != kind or link.alias not in {"", alias}):
            raise taken(step)
        return link

    def delete_link(self, namespace: Namespace, link: Link) -> None:
        """Delete a link, with its veth peer and the links upon it; its ports are without a master."""
        namespace.links.pop(link.name, None)
        namespace.drop_routes(link)
        namespace.sysctls.drop_link(link.name)
        for holder in list(self._namespaces.values()):
            for other in list(holder.links.values()):
                if other is link.peer or other.parent is link:
                    self.delete_link(holder, other)
                elif other.master is link:
                    other.master = None
