"""What the cases share: a kernel to try, what they make on it, and the usual pair."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ...host.kernel.contract import Kernel
from ...model.errors import CarrickError
from ...model.observed import LinkState, NamespaceState, Neighbour, RouteState
from ...model.steps import (
    CreateBridge,
    CreateNetns,
    CreateVeth,
    CreateVxlan,
    Step,
)

MAC = "02:00:5e:10:00:01"
PEER_MAC = "02:00:5e:10:00:02"


@dataclass
class World:
    """A kernel, a way to wait for it, and paths at which it may hold namespaces."""

    kernel: Kernel
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    path: Callable[[str], str]

    def apply(self, *steps: Step) -> None:
        self.run(self.kernel.apply(steps))

    def remove(self, *steps: Step) -> list[Exception]:
        errors: list[Exception] = self.run(self.kernel.remove(steps))
        return errors

    def read(self, netns: str = "") -> NamespaceState:
        state: NamespaceState = self.run(self.kernel.read(netns))
        return state

    def link(self, name: str, netns: str = "") -> LinkState:
        return self.read(netns).links[name]

    def refused(self, *steps: Step) -> CarrickError:
        with pytest.raises(CarrickError) as caught:
            self.apply(*steps)
        return caught.value

    def fdb(self, link: str, netns: str = "") -> dict[str, frozenset[str]]:
        return dict(self.run(self.kernel.read_fdb(link, netns)))

    def neighbours(self, link: str, netns: str = "") -> dict[str, Neighbour]:
        return dict(self.run(self.kernel.read_neighbours(link, netns)))

    def own_routes(self, netns: str = "") -> set[RouteState]:
        return {route for route in self.read(netns).routes if route.is_own}

    def sysctl(self, key: str, netns: str = "") -> str | None:
        value: str | None = self.run(self.kernel.read_sysctl(key, netns))
        return value


def bridge(name: str = "br0", mtu: int = 1500) -> CreateBridge:
    return CreateBridge(name, f"carrick:{name}", mtu, MAC)


def veth(netns: str, name: str = "ve0", peer: str = "eth0", mtu: int = 1500) -> CreateVeth:
    return CreateVeth(name, f"carrick:{name}", mtu, "br0", peer, netns, PEER_MAC)


def vxlan(name: str = "vx0", vni: int = 4096, local: str = "192.0.2.1", **changes: Any) -> CreateVxlan:
    return replace(CreateVxlan(name, vni, 4789, local, f"carrick:{name}", 1450), **changes)


def global_addresses(link: LinkState) -> set[str]:
    return {item for item in link.addresses if not item.startswith("fe80:")}


class Cases:
    """Cases for a `Kernel`; the fixture `world` comes from the subclass."""

    @pytest.fixture
    def netns(self, world: World) -> str:
        path = world.path("one")
        world.apply(CreateNetns(path))
        return path

    @pytest.fixture
    def pair(self, world: World, netns: str) -> str:
        """A bridge `br0`, and a pair from `ve0` on it to `eth0` in the namespace returned."""
        world.apply(bridge(), veth(netns))
        return netns
