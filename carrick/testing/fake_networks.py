"""The networks of the fake engine: they give addresses, in order."""

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ..engine.values import (
    Attached,
    Attachment,
    Created,
    CreateNetwork,
    Filters,
    NetworkView,
    PoolUse,
)
from ..model.errors import Conflict, Denied, Failed, InvalidRequest, NotFound
from ..model.ids import EndpointId, NetworkId, short
from ..model.networks import Endpoint, EndpointSettings, Network, PoolConfig
from ..model.steps import CreateBridge, Plan
from .fake_ids import find, make_id

if TYPE_CHECKING:
    from .fake_engine import FakeEngine


class FakeNetworks:
    def __init__(self, engine: "FakeEngine") -> None:
        self._engine = engine
        self.networks: dict[str, Network] = {}
        self.endpoints: dict[str, dict[str, Endpoint]] = {}
        for name, driver, subnet in (
            ("bridge", "bridge", "172.17.0.0/16"),
            ("host", "host", ""),
            ("none", "null", ""),
        ):
            self._add(CreateNetwork(name, driver), subnet)

    def _add(self, request: CreateNetwork, subnet: str) -> str:
        identifier = NetworkId(make_id("network", request.name, next(self._engine.serial)))
        pools = request.pools
        if not pools and subnet:
            pools = (PoolConfig(subnet, gateway=str(ip_network(subnet)[1])),)
        self.networks[identifier] = Network(
            identifier,
            request.name,
            request.driver,
            time.time_ns(),
            enable_ipv4=request.enable_ipv4 is not False,
            enable_ipv6=bool(request.enable_ipv6),
            pools=pools,
            internal=request.internal,
            attachable=request.attachable,
            options=request.options,
            labels=request.labels,
        )
        self.endpoints[identifier] = {}
        return identifier

    async def choose(self, request: CreateNetwork, avoid: Sequence[str] = ()) -> tuple[PoolConfig, ...]:
        chosen = []
        taken = {*avoid, *(pool.subnet for network in self.networks.values() for pool in network.pools)}
        for pool in request.pools or (PoolConfig("0.0.0.0/0"),):
            subnet = pool.subnet
            if not subnet or subnet.endswith("/0"):
                subnet = next(f"172.{n}.0.0/16" for n in range(18, 99) if f"172.{n}.0.0/16" not in taken)
            chosen.append(replace(pool, subnet=subnet, gateway=pool.gateway or str(ip_network(subnet)[1])))
        return tuple(chosen)

    def find(self, reference: str) -> Network:
        return self.networks[NetworkId(self._find(reference))]

    def id_of(self, reference: str) -> str:
        try:
            return self._find(reference)
        except NotFound:
            return ""

    def _find(self, reference: str) -> str:
        names = {identifier: network.name for identifier, network in self.networks.items()}
        return find(reference, names, f"network {reference} not found")

    def endpoints_of(self, container_id: str) -> tuple[Endpoint, ...]:
        return tuple(found[container_id] for found in self.endpoints.values() if container_id in found)

    def join(self, container_id: str, attachment: Attachment) -> None:
        identifier = self._find(attachment.network)
        network = self.networks[identifier]
        members = self.endpoints[identifier]
        if container_id in members:
            return
        pool = network.pool(4)
        index = len(self.endpoints_of(container_id))
        address = attachment.settings.ipv4_address
        if pool and not address:
            if len(members) + 3 >= pool.network.num_addresses:
                raise Failed("no available IPv4 addresses on this network's address pools")
            address = str(pool.network[len(members) + 2])
        members[container_id] = Endpoint(
            EndpointId(make_id("endpoint", identifier, container_id)),
            network.id,
            network.name,
            index,
            attachment.settings,
            interface=f"eth{index}",
            mac_address=attachment.settings.mac_address or "02:42:ac:11:00:02",
            ipv4=f"{address}/{pool.network.prefixlen}" if pool else "",
            gateway4=pool.gateway if pool else "",
            dns_names=(self._engine.containers.records[container_id].name, short(container_id)),
        )

    async def create(self, request: CreateNetwork) -> Created:
        if not request.name:
            raise InvalidRequest("invalid name: name is empty")
        if request.name in ("bridge", "host", "none", "default"):
            raise Denied(f"operation is not permitted on predefined {request.name} network ")
        if any(network.name == request.name for network in self.networks.values()):
            raise Conflict(f"network with name {request.name} already exists")
        if request.driver not in ("bridge", "host", "null"):
            raise NotFound(f"could not find plugin {request.driver} in v1 plugin registry: plugin not found")
        for given in request.pools:
            try:
                ip_network(given.subnet)
            except ValueError as error:
                raise InvalidRequest(f"invalid subnet {given.subnet}") from error
        return Created(self._add(request, f"172.{17 + len(self.networks) % 200}.0.0/16"))

    async def plan(self, request: CreateNetwork) -> Plan:
        return Plan((CreateBridge("br-fake", "carrick:fake", 1500),), ("172.18.0.0/16 is free",))

    def _view(self, identifier: str) -> NetworkView:
        network = self.networks[identifier]
        members = self.endpoints[identifier]
        attached = tuple(
            Attached(
                container_id,
                self._engine.containers.records[container_id].name,
                endpoint.id,
                endpoint.mac_address,
                endpoint.ipv4,
                endpoint.ipv6,
            )
            for container_id, endpoint in members.items()
            if container_id in self._engine.containers.records
        )
        uses = tuple(PoolUse(pool.subnet, len(members) + 1, 65533 - len(members)) for pool in network.pools)
        return NetworkView(network, attached, uses)

    async def get(self, reference: str) -> NetworkView:
        return self._view(self._find(reference))

    async def list(self, filters: Filters) -> list[NetworkView]:
        for name in filters:
            if name not in ("name", "id", "driver", "label", "dangling", "scope", "type"):
                raise InvalidRequest(f"invalid filter '{name}'")
        views = [self._view(identifier) for identifier in self.networks]
        if names := filters.get("name"):
            views = [view for view in views if any(name in view.network.name for name in names)]
        return views

    async def remove(self, reference: str) -> None:
        identifier = self._find(reference)
        name = self.networks[identifier].name
        if name in ("bridge", "host", "none"):
            raise Denied(f"{name} is a pre-defined network and cannot be removed")
        del self.networks[identifier], self.endpoints[identifier]

    async def prune(self, filters: Filters) -> tuple[str, ...]:
        unused = [
            network
            for identifier, network in self.networks.items()
            if network.name not in ("bridge", "host", "none") and not self.endpoints[identifier]
        ]
        for network in unused:
            await self.remove(network.id)
        return tuple(network.name for network in unused)

    async def connect(self, reference: str, container: str, settings: EndpointSettings) -> None:
        network = self.networks[self._find(reference)]
        view = await self._engine.containers.get(container)
        attachment = Attachment(network.name, settings)
        if view.record.id in self.endpoints[network.id]:
            raise Denied(f"endpoint with name {view.record.name} already exists in network {network.name}")
        records = self._engine.containers.records
        record = records[view.record.id]
        records[record.id] = replace(record, attachments=(*record.attachments, attachment))
        if view.state.is_running:
            self.join(view.record.id, attachment)
        self._engine.bus.emit("network", "connect", network.id, name=network.name, container=record.id)

    async def disconnect(self, reference: str, container: str, *, force: bool = False) -> None:
        identifier = self._find(reference)
        view = await self._engine.containers.get(container)
        name = self.networks[identifier].name
        if self.endpoints[identifier].pop(view.record.id, None) is None:
            raise Failed(f"container {view.record.id} is not connected to network {name}")
        records = self._engine.containers.records
        record = records[view.record.id]
        kept = tuple(item for item in record.attachments if item.network != name)
        records[record.id] = replace(record, attachments=kept)
