"""Published ports: choose them, hold them on the host, and let the firewall translate.

A port is held (bound by `carrick-ports`) before anything is told of it, so that a clash is an error at once,
with the holder's name. The firewall's entries follow when the container's address is up.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import cast

from ..domains.firewall import (
    OpenPort,
    Publication,
    render_close,
    render_open,
    render_publish,
    render_unpublish,
)
from ..domains.firewall.wanted import ROUTED
from ..domains.ports import ANY4, ANY6, Target, Wanted, overlaps, plan_bindings, render_binding
from ..domains.sandboxes.interfaces import elect_gateways
from ..drivers import bridge
from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.kernel import Kernel
from ..host.portholder.contract import HeldPort, PortHolder, PortTaken, Transport
from ..model.containers import PortBinding
from ..model.errors import Failed, Unavailable
from ..model.networks import Sandbox
from ..model.steps import ForgetFlows, Nft, Step
from .state import State, Write
from .values import GuestRecord, Occupant, PublishedPort

_log = logging.getLogger(__name__)
_RETRIES = 10
_DEFAULT_RANGE = (32768, 60999)


@dataclass(frozen=True, slots=True)
class Publishing:
    """What publishing a container's ports consists of, decided from its sandbox."""

    ports: tuple[PublishedPort, ...]
    held: tuple[HeldPort, ...]
    publications: tuple[Publication, ...]
    open_ports: tuple[OpenPort, ...] = ()


class PortService:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        drivers: DriverRegistry,
        kernel: Kernel,
        holder: PortHolder,
    ) -> None:
        self._config = config
        self._state = state
        self._drivers = drivers
        self._kernel = kernel
        self._holder = holder
        self._range = _DEFAULT_RANGE
        self._next = 0

    async def read_range(self) -> None:
        """Take the range for ports that nobody named from the kernel's own."""
        text = await self._kernel.read_sysctl("net.ipv4.ip_local_port_range")
        if text:
            low, high = text.split()
            self._range = (int(low), int(high))

    # Deciding --------------------------------------------------------------------------------

    def target(self, sandbox: Sandbox) -> Target:
        """Return where the sandbox's ports are reached: the endpoints that have its default routes."""
        gateways = elect_gateways(sandbox.endpoints)
        found = {4: "", 6: ""}
        default_ip = ""
        for network_id, version in ((gateways.ipv4, 4), (gateways.ipv6, 6)):
            endpoint = sandbox.endpoint(network_id) if network_id else None
            if endpoint is None:
                continue
            network = self._state.networks[endpoint.network_id]
            driver = self._drivers.get(network.driver)
            rules = driver.firewall_rules(network)
            if not driver.capabilities.published or (rules and rules.mode(version) == ROUTED):
                continue
            found[version] = endpoint.ipv6_address if version == 6 else endpoint.ipv4_address
            default_ip = default_ip or network.options.get(bridge.BINDING, "")
        default_ip = default_ip or self._config.ip
        return Target(found[4], found[6], "" if default_ip in {ANY4, ANY6} else default_ip)

    def bindings(self, record: Occupant) -> tuple[PortBinding, ...]:
        """Return what is to be published: `-p`, and with `-P` every exposed port that has no `-p`."""
        if isinstance(record, GuestRecord):
            return record.spec.ports
        given = record.host_config.port_bindings
        if not record.host_config.publish_all_ports:
            return given
        have = {(item.container_port, item.protocol) for item in given}
        exposed = [
            (int(number), protocol or "tcp")
            for number, _, protocol in (item.partition("/") for item in record.config.exposed_ports)
            if number.isdigit()
        ]
        return given + tuple(PortBinding(port, proto) for port, proto in exposed if (port, proto) not in have)

    async def hold(
        self, record: Occupant, sandbox: Sandbox, bindings: Sequence[PortBinding]
    ) -> tuple[PublishedPort, ...]:
        """Choose and hold host ports for `bindings`; all of them or none.

        Raises Failed in Docker's words, naming the holder, when one is taken.
        """
        target = self.target(sandbox)
        if not bindings or not (target.ipv4 or target.ipv6):
            return ()
        groups: dict[int, list[Wanted]] = {}
        for item in plan_bindings(bindings, target):
            groups.setdefault(item.group, []).append(item)
        # What was published before stays where it was, when a port was left for us to choose.
        held: list[tuple[Wanted, int]] = []
        try:
            for group in groups.values():
                held += await self._hold_group(record, sandbox, group, held)
        except BaseException:
            await self._holder.release(record.id, [_held_port(item, port) for item, port in held])
            raise
        return tuple(
            PublishedPort(item.target_port, item.protocol, item.host_ip, port) for item, port in held
        )

    def claim(self, record: Occupant, sandbox: Sandbox) -> tuple[PublishedPort, ...]:
        """Return the ports to be published for one whose engine binds them itself.

        Failed for one that another container has, or that was left for us to choose.
        """
        target = self.target(sandbox)
        bindings = self.bindings(record)
        if not bindings or not (target.ipv4 or target.ipv6):
            return ()
        ports = []
        for item in plan_bindings(bindings, target):
            if not item.first:
                raise self._clash(record, sandbox, f"no host port was given for port {item.target_port}")
            if (other := self._holder_of(item.protocol, item.host_ip, item.first)) is not None:
                where = render_binding(item.host_ip, item.first)
                raise self._clash(
                    record, sandbox, f"Bind for {where} failed: port is already allocated (by {other.name})"
                )
            if item.nat:
                ports.append(PublishedPort(item.target_port, item.protocol, item.host_ip, item.first))
        return tuple(ports)

    def _holder_of(self, protocol: str, host_ip: str, host_port: int) -> Occupant | None:
        """Return whose published port this is, if it is any container's."""
        occupants: list[Occupant] = [*self._state.containers.values(), *self._state.guests.values()]
        for other in occupants:
            for port in other.ports:
                if (port.host_port, port.protocol) == (host_port, protocol) and overlaps(
                    port.host_ip, host_ip
                ):
                    return other
        return None

    async def _hold_group(
        self,
        record: Occupant,
        sandbox: Sandbox,
        group: Sequence[Wanted],
        mine: Sequence[tuple[Wanted, int]],
    ) -> list[tuple[Wanted, int]]:
        first = group[0]
        explicit = first.first == first.last != 0
        tries = 0
        refusal: str = ""
        for port in self._candidates(first):
            refusal = self._own_clash(group, port, record, mine)
            if not refusal:
                try:
                    await self._holder.hold(record.id, [_held_port(item, port) for item in group])
                except PortTaken as error:
                    refusal = self._words(error)
                    tries += 1
                else:
                    if first.first == 0:
                        self._next = port + 1
                    return [(item, port) for item in group]
            if explicit or (tries >= _RETRIES and first.first == 0):
                break
        raise self._clash(record, sandbox, refusal or "no free port in the range")

    def _candidates(self, wanted: Wanted) -> "chain[int] | range":
        if wanted.first:
            return range(wanted.first, wanted.last + 1)
        low, high = self._range
        start = self._next if low <= self._next <= high else low
        return chain(range(start, high + 1), range(low, start))

    @staticmethod
    def _own_clash(
        group: Sequence[Wanted], port: int, record: Occupant, mine: Sequence[tuple[Wanted, int]]
    ) -> str:
        """Return Docker's words if this very container has the port already; others the holder knows."""
        have = [(item.protocol, item.host_ip, number) for item, number in mine]
        have += [(item.protocol, item.host_ip, item.host_port) for item in record.ports]
        for item in group:
            for protocol, host_ip, number in have:
                if (number, protocol) == (port, item.protocol) and overlaps(host_ip, item.host_ip):
                    where = render_binding(item.host_ip, port)
                    return f"Bind for {where} failed: port is already allocated (by {record.name})"
        return ""

    def _words(self, error: PortTaken) -> str:
        """Say in Docker's words who has a port: a container of ours, or a program of the host."""
        held = error.held
        where = render_binding(held.host_ip, held.host_port)
        other = self._holder_of(held.protocol, held.host_ip, held.host_port)
        if other is not None:
            return f"Bind for {where} failed: port is already allocated (by {other.name})"
        by = f" (by {error.holder})" if error.holder else ""
        return f"failed to bind host port {where}/{held.protocol}: address already in use{by}"

    def _clash(self, record: Occupant, sandbox: Sandbox, reason: str) -> Failed:
        endpoint_id = sandbox.endpoints[0].id if sandbox.endpoints else ""
        return Failed(
            "failed to set up container networking: driver failed programming external connectivity on "
            f"endpoint {record.name} ({endpoint_id}): {reason}"
        )

    # Applying --------------------------------------------------------------------------------

    def has_any(self, record: Occupant) -> bool:
        """Whether a container has ports to be reached at, translated or routed."""
        return bool(record.ports or self.bindings(record))

    def publishing(self, record: Occupant, sandbox: Sandbox) -> Publishing:
        """Return what should be in force for the ports that `record` has."""
        ports, target = record.ports, self.target(sandbox)
        bindings = [
            PortBinding(port.container_port, port.protocol, port.host_ip, str(port.host_port))
            for port in ports
        ]
        wanted = plan_bindings(bindings, target) if target.ipv4 or target.ipv6 else []
        publications = tuple(
            Publication(
                item.protocol,
                "" if item.host_ip in {ANY4, ANY6} else item.host_ip,
                item.first,
                item.target_ip,
                item.target_port,
            )
            for item in wanted
            if item.nat
        )
        held = tuple(_held_port(item, item.first) for item in wanted)
        return Publishing(tuple(ports), held, publications, self._open_ports(record, sandbox))

    def _open_ports(self, record: Occupant, sandbox: Sandbox) -> tuple[OpenPort, ...]:
        """Ports that routed networks let through, without NAT and without a port of the host."""
        found = set()
        bindings = self.bindings(record)
        for endpoint in sandbox.endpoints:
            network = self._state.networks.get(endpoint.network_id)
            if network is None or network.driver not in self._drivers:
                continue
            rules = self._drivers.get(network.driver).firewall_rules(network)
            for version, address in ((4, endpoint.ipv4_address), (6, endpoint.ipv6_address)):
                if rules is not None and address and rules.mode(version) == ROUTED:
                    found |= {OpenPort(item.protocol, address, item.container_port) for item in bindings}
        return tuple(sorted(found))

    async def publish(self, publishing: Publishing) -> None:
        """Put entries into the firewall. The records say so already."""
        table = self._config.name
        commands = render_publish(table, publishing.publications) + render_open(table, publishing.open_ports)
        if commands:
            async with self._state.lock("firewall"):
                await self._kernel.apply([Nft(tuple(commands)), *_forget_udp(publishing)])

    async def unpublish(self, publishing: Publishing) -> None:
        """Take entries out of the firewall, the records being without them; what is gone is no error."""
        table = self._config.name
        commands = render_unpublish(table, publishing.publications) + render_close(
            table, publishing.open_ports
        )
        if not commands:
            return
        async with self._state.lock("firewall"):
            await self._take_out(publishing, commands)

    async def _take_out(self, publishing: Publishing, commands: Sequence[str]) -> None:
        table = self._config.name
        errors = await self._kernel.remove([Nft(tuple(commands))])
        if errors:
            # One entry missing fails the whole transaction: take them out one by one.
            single = [
                Nft((command,))
                for item in publishing.publications
                for command in render_unpublish(table, [item])
            ]
            single += [
                Nft((command,)) for port in publishing.open_ports for command in render_close(table, [port])
            ]
            await self._kernel.remove(single)
        await self._kernel.remove(_forget_udp(publishing))

    async def follow(self, before: Sandbox, after: Sandbox) -> None:
        """Move a running container's ports to where its default gateway is now.

        Without one they are given up, and taken again when there is one. With `before` the same as `after`
        it finishes what a killed daemon left undone.
        """
        record = self._state.containers[after.container_id]
        target = self.target(after)
        if record.ports and target != self.target(before):
            await self.unpublish(self.publishing(record, before))
        if not (target.ipv4 or target.ipv6):
            if record.ports:
                await self._state.save(Write(containers=[replace(record, ports=())]))
                await self.release(record)
            return
        if not record.ports:
            ports = await self.hold(record, after, self.bindings(record))
            if not ports:
                return
            record = replace(record, ports=ports)
            await self._state.save(Write(containers=[record]))
        elif target == self.target(before):
            return
        publishing = self.publishing(record, after)
        # The same ports again, with what is relayed going to the new address.
        await self._holder.hold(record.id, publishing.held)
        await self.publish(publishing)

    async def release(self, record: Occupant, ports: Sequence[HeldPort] | None = None) -> None:
        try:
            await self._holder.release(record.id, ports)
        except Unavailable as error:
            _log.warning("ports of %s are given back when carrick-ports is there: %s", record.name, error)

    def everything_held(self) -> dict[str, Sequence[HeldPort]]:
        """Return what should be held for every running container, for `PortHolder.sync`."""
        held: dict[str, Sequence[HeldPort]] = {}
        for sandbox in self._state.sandboxes.values():
            record = self._state.occupant(sandbox)
            if isinstance(record, GuestRecord) and not record.spec.hold_ports:
                continue
            if record is not None and sandbox.active and record.ports:
                held[record.id] = self.publishing(record, sandbox).held
        return held


def _held_port(item: Wanted, port: int) -> HeldPort:
    relay = (item.target_ip, item.target_port) if item.relay else None
    return HeldPort(cast("Transport", item.protocol), item.host_ip, port, relay)


def _forget_udp(publishing: Publishing) -> list[Step]:
    """UDP flows outlive the rules they were made by: without this a client stays on the old path."""
    flows = {(item.host_port, item.version) for item in publishing.publications if item.protocol == "udp"}
    return [ForgetFlows("udp", port, version) for port, version in sorted(flows)]
