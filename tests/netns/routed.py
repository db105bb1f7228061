"""Routed networks on hosts: two on a segment, a third behind a router.

Each has a kernel of its own, the firewall, and a container, by the driver's plans; what they know of each
other is a `ClusterView`, as the cluster's records would give it. Needs root; nothing here touches the
machine's own network.
"""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hosts import HostOnSwitch, make_switch, until_forwarding, until_ready
from traffic import exchange

from carrick.domains.firewall import Firewall, Publication, render_all
from carrick.domains.sandboxes.routes import plan_default_routes
from carrick.domains.wireguard import device_name
from carrick.drivers.contract import ClusterView, Driver, HostView, LinkRows, Spanning
from carrick.drivers.overlay import VNI
from carrick.drivers.routed import RoutedDriver
from carrick.host.kernel import LinuxKernel
from carrick.host.wireguard import Wireguard
from carrick.model.cluster import Block, BlockState, NodeId, NodeRecord, Underlay
from carrick.model.errors import NotFound
from carrick.model.ids import ContainerId, EndpointId, NetworkId, SandboxId
from carrick.model.networks import Endpoint, EndpointSettings, Network, PoolConfig, Sandbox, Scope
from carrick.model.steps import Nft, Plan, SetSysctl
from carrick.testing.namespaces import Namespace, Namespaces, namespaces

BLOCKS = {4: "10.77.{}.64/26", 6: "fd77::{}:0/112"}
CONTAINER = {4: "10.77.{}.70", 6: "fd77::{}:5"}
NAME = "net"


def network_of(driver: str = "routed", *, internal: bool = False, **options: str) -> Network:
    return Network(
        NetworkId("ab" * 32),
        NAME,
        driver,
        0,
        scope=Scope.GLOBAL,
        enable_ipv6=True,
        internal=internal,
        pools=(PoolConfig("10.77.0.0/16"), PoolConfig("fd77::/96")),
        options={VNI: "5001", **{key.replace("_", "-"): value for key, value in options.items()}},
    )


class Host(HostOnSwitch):
    """A host of the lab: its parts, and its container's endpoint."""

    def __init__(self, spaces: Namespaces, segment: Namespace, number: int, directory: Path) -> None:
        super().__init__(spaces, segment, number, directory)
        four, six = ("198.51.100", "2001:db8:b") if number == 3 else ("192.0.2", "2001:db8:a")
        self.namespace.sysctl("net.ipv4.ip_forward", "1")
        self.namespace.sysctl("net.ipv6.conf.all.forwarding", "1")
        self.namespace.ip(f"address add {four}.{number}/24 dev up0")
        self.namespace.ip(f"address add {six}::{number}/64 dev up0")
        self.namespace.ip(f"route add default via {four}.254")
        self.namespace.ip(f"-6 route add default via {six}::fe")
        self.world.apply(SetSysctl("net.ipv6.conf.default.accept_dad", "0", self.container))
        table = f"ck{secrets.token_hex(3)}"
        self._directory = directory
        self.wireguard = self._make_wireguard(table)
        spaces.defer(lambda: self.world.run(self.wireguard.remove()))
        self.record = NodeRecord(
            NodeId(f"node{number:022}"),
            f"host{number}",
            1,
            (Underlay(f"{four}.{number}", f"{four}.0/24"), Underlay(f"{six}::{number}", f"{six}::/64")),
        )
        self.endpoint: Endpoint | None = None
        self.cluster: ClusterView | None = None
        self.shortcuts = False

    def _make_wireguard(self, table: str) -> Wireguard:
        return Wireguard(
            name=device_name(table),
            alias=f"{table}:wireguard",
            directory=self._directory / f"state{self.number}",
            log=self._directory / f"wireguard{self.number}.log",
            kernel=self.world.kernel,
        )

    def succeed(self) -> None:
        """Have another process's view of the kernel from here on."""
        self.world.kernel = self.namespace.call(LinuxKernel)
        self.wireguard = self._make_wireguard(self.table)

    @property
    def table(self) -> str:
        return self.wireguard.name.removeprefix("wg-")

    def address(self, version: int) -> str:
        return CONTAINER[version].format(self.number)

    @property
    def overlay_mac(self) -> str:
        return f"02:00:00:00:07:{self.number:02x}"

    def container_mac(self) -> str:
        assert self.endpoint is not None
        return self.endpoint.mac_address.lower()

    def view(self, links: Iterable[str] = ()) -> HostView:
        rows = {}
        for link in links:
            with suppress(NotFound):
                rows[link] = LinkRows(self.world.fdb(link), self.world.neighbours(link))
        device = self.world.run(self.wireguard.view())
        return HostView(
            self.world.read(),
            self.table,
            1500,
            self.cluster,
            rows,
            device,
            routed_shortcuts=self.shortcuts,
        )

    def converge(self, driver: Driver, network: Network) -> Plan:
        """Apply the network's plan; then there is nothing to plan."""
        assert isinstance(driver, Spanning)
        links = driver.tunnels(network)
        plan = driver.plan_network(network, self.view(links))
        self.world.apply(*plan.steps)
        again = driver.plan_network(network, self.view(links))
        assert not again.steps, again.steps
        return plan

    def attach(self, driver: Driver, network: Network, *, mac: str = "") -> None:
        """Apply the plan of the container's endpoint; then there is nothing to plan."""
        endpoint = Endpoint(
            EndpointId(f"{self.number:064x}"),
            network.id,
            network.name,
            0,
            settings=EndpointSettings(mac_address=mac),
            ipv4=f"{self.address(4)}/16",
            ipv6=f"{self.address(6)}/96",
        )
        self.endpoint = driver.complete_endpoint(network, endpoint)
        sandbox = Sandbox(SandboxId("s"), ContainerId("c"), self.container, True, (self.endpoint,))

        def plan() -> Plan:
            return driver.plan_endpoint(
                network, self.endpoint or endpoint, sandbox, self.view(), self.world.read(self.container)
            )

        self.world.apply(*plan().steps)
        assert not plan().steps
        self.world.apply(*plan_default_routes(sandbox, self.world.read(self.container).routes))
        until_forwarding(self.namespace)
        until_ready(self.inside, "eth0")

    def firewall(self, driver: Driver, network: Network, *published: Publication) -> None:
        rules = driver.firewall_rules(network)
        assert rules is not None
        rules = replace(rules, stateless=self.shortcuts)
        self.world.apply(Nft(render_all(Firewall(self.table, (rules,), published))))


@dataclass
class Lab:
    spaces: Namespaces
    router: Namespace
    segments: dict[str, Namespace]
    hosts: list[Host]

    def nodes(self) -> dict[NodeId, NodeRecord]:
        return {host.record.id: host.record for host in self.hosts}

    def tell(self, network: Network) -> None:
        """Have every host see all, as the cluster's records would say it."""
        blocks = tuple(
            Block(network.id, BLOCKS[version].format(host.number), host.record.id, 1, BlockState.CONFIRMED)
            for host in self.hosts
            for version in (4, 6)
        )
        for host in self.hosts:
            host.cluster = ClusterView(host.record, self.nodes(), {network.id: blocks})

    def up(self, network: Network, *, wireguard: bool = False) -> RoutedDriver:
        """Bring a routed network up on every host, with a container in it."""
        driver = RoutedDriver()
        if wireguard:
            self.keys()
        self.tell(network)
        for host in self.hosts:
            driver.check(network, (), host.view())
            host.converge(driver, network)
            host.firewall(driver, network)
            host.attach(driver, network)
            host.converge(driver, network)
        return driver

    def keys(self) -> None:
        for host in self.hosts:
            host.world.run(host.wireguard.ensure())
            host.record = replace(
                host.record, wireguard_key=host.wireguard.public_key(), wireguard_port=51820
            )


@contextmanager
def lab_of_routers(directory: Path, *, shortcuts: bool = False) -> Iterator[Lab]:
    """Have the hosts and the router between their segments; what they hold is in `directory`.

    With `shortcuts` they take those, where the driver plans them.
    """
    with namespaces() as spaces:
        router = spaces.new()
        router.sysctl("net.ipv4.ip_forward", "1")
        router.sysctl("net.ipv6.conf.all.forwarding", "1")
        router.sysctl("net.ipv6.conf.default.accept_dad", "0")
        segments = {}
        for name, four, six in (("a", "192.0.2", "2001:db8:a"), ("b", "198.51.100", "2001:db8:b")):
            segment = segments[name] = make_switch(spaces)
            spaces.wire(router, f"to-{name}", segment, "router")
            segment.ip("link set router master sw0")
            router.ip(f"address add {four}.254/24 dev to-{name}")
            router.ip(f"address add {six}::fe/64 dev to-{name}")
        hosts = [Host(spaces, segments["b" if n == 3 else "a"], n, directory) for n in (1, 2, 3)]
        for host in hosts:
            host.shortcuts = shortcuts
            until_ready(host.namespace.call, "up0")
        until_ready(router.call, *(f"to-{name}" for name in segments))
        for segment in segments.values():
            until_forwarding(segment)
        yield Lab(spaces, router, segments, hosts)


def talk(one: Host, other: Host, version: int) -> str:
    """Exchange a mebibyte; return the address that `one` was seen with."""
    return exchange(one, other, one.address(version), other.address(version))
