"""Connect containers to networks and disconnect them, running or not, in Docker's words."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from ..model.cluster import Block
from ..model.errors import CarrickError, Denied, Failed, InvalidRequest, NotFound
from ..model.networks import Endpoint, EndpointSettings, Network, Sandbox
from .checks import check_settings
from .events import EventBus
from .ports import PortService
from .sandboxes import SandboxService
from .state import State, Write
from .values import Attachment, ContainerRecord

_log = logging.getLogger(__name__)


class ConnectionService:
    def __init__(
        self, *, state: State, sandboxes: SandboxService, ports: PortService, events: EventBus
    ) -> None:
        self._state = state
        self._sandboxes = sandboxes
        self._ports = ports
        self._events = events

    async def connect(self, reference: str, container: str, settings: EndpointSettings) -> None:
        check_settings(settings)
        network = self._state.find_network(reference)
        record = self._state.find_container(container)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            _check_connectable(record, network)
            sandbox = self._own_sandbox(record)
            if sandbox is not None and sandbox.active:
                if sandbox.endpoint(network.id) is not None:
                    raise Denied(f"endpoint with name {record.name} already exists in network {network.name}")
                after = await self._sandboxes.connect(record, sandbox, network, settings)
                await self._ports.follow(sandbox, after)
                self._emit(record, network, "connect")
                return
            if any(self._names(item, network) for item in record.attachments):
                return  # as Docker does, without a word
            record = replace(record, attachments=(*record.attachments, Attachment(network.name, settings)))
            write = Write(containers=[record])
            if sandbox is None:
                await self._state.save(write)
            else:
                await self._sandboxes.reserve(record, sandbox, write)

    async def disconnect(self, reference: str, container: str, *, force: bool = False) -> None:
        network = self._state.find_network(reference)
        try:
            record = self._state.find_container(container)
        except NotFound:
            if force:
                # Endpoints here live and die with their containers: there is nothing left to remove.
                raise NotFound(f"endpoint {container} not found") from None
            raise
        if network.driver == "host":
            raise InvalidRequest(
                "cannot disconnect container from host network - container was created in host network mode"
            )
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            sandbox = self._own_sandbox(record)
            if sandbox is not None and sandbox.active:
                endpoint = sandbox.endpoint(network.id)
                if endpoint is None:
                    raise Failed(f"container {record.id} is not connected to network {network.name}")
                after = await self._sandboxes.disconnect(record, sandbox, endpoint)
                await self._ports.follow(sandbox, after)
                self._emit(record, network, "disconnect")
                return
            if not any(self._names(item, network) for item in record.attachments):
                raise Failed(f"container {record.id} is not connected to the network {network.name}")
            if sandbox is not None and (endpoint := sandbox.endpoint(network.id)) is not None:
                await self._sandboxes.drop_endpoint(record, sandbox, endpoint)
                return
            kept = tuple(item for item in record.attachments if not self._names(item, network))
            await self._state.save(Write(containers=[replace(record, attachments=kept)]))

    async def readdress(self, lost: Sequence[Block]) -> None:
        """Give endpoints new addresses whose block another node has by now.

        One that was asked for by number is asked for again, and if it cannot be had, any will do: a container
        without its address is better off than one without a network.
        """
        for block in lost:
            for sandbox, position in self._state.endpoints_on(block.network_id):
                endpoint = sandbox.endpoints[position]
                addresses = filter(None, (endpoint.ipv4_address, endpoint.ipv6_address))
                if not any(ip_address(item) in block.network for item in addresses):
                    continue
                if (guest := self._state.guests.get(sandbox.container_id)) is not None:
                    _log.error(
                        "%s container %s: address %s is another node's now: restart the container there",
                        guest.engine,
                        guest.name,
                        endpoint.ipv4_address or endpoint.ipv6_address,
                    )
                    continue
                try:
                    await self._move(sandbox, endpoint)
                except CarrickError as error:
                    _log.error("container %s: no new address: %s", sandbox.container_id[:12], error)

    async def _move(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        record = self._state.find_container(sandbox.container_id)
        network = self._state.networks[endpoint.network_id]
        async with self._state.lock(record.id):
            current = self._state.sandboxes.get(sandbox.id)
            if current is None or endpoint not in current.endpoints:
                return
            if not current.active:
                await self._sandboxes.drop_endpoint(record, current, endpoint)
                kept = self._state.find_container(record.id)
                wish = Attachment(network.name, endpoint.settings)
                await self._state.save(
                    Write(containers=[replace(kept, attachments=(*kept.attachments, wish))])
                )
                return
            after = await self._sandboxes.disconnect(record, current, endpoint)
            record = self._state.find_container(record.id)
            try:
                moved = await self._sandboxes.connect(record, after, network, endpoint.settings)
            except CarrickError:
                any_address = replace(endpoint.settings, ipv4_address="", ipv6_address="")
                moved = await self._sandboxes.connect(record, after, network, any_address)
            await self._ports.follow(current, moved)
        _log.warning("container %s has a new address on network %s", record.name, network.name)

    def _own_sandbox(self, record: ContainerRecord) -> Sandbox | None:
        sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
        return sandbox if sandbox is not None and sandbox.container_id == record.id else None

    def _names(self, attachment: Attachment, network: Network) -> bool:
        found = self._state.network_or_none(attachment.network)
        return found is not None and found.id == network.id

    def _emit(self, record: ContainerRecord, network: Network, action: str) -> None:
        attributes = {"name": network.name, "type": network.driver, "container": record.id}
        self._events.emit("network", action, network.id, attributes)


def _check_connectable(record: ContainerRecord, network: Network) -> None:
    mode = record.host_config.network_mode
    if network.driver == "host":
        raise InvalidRequest(
            "cannot connect container to host network - container must be created in host network mode"
        )
    if mode == "host" or mode.startswith("container:"):
        raise InvalidRequest(
            "container sharing network namespace with another container or host cannot be connected to any "
            "other network"
        )
    if network.config_only:
        raise Denied("cannot create endpoint on configuration-only network")
    if mode == "none" or network.driver == "null":
        raise InvalidRequest(
            "container cannot be connected to multiple networks with one of the networks in private (none) "
            "mode"
        )
    if record.state.status in {"removing", "dead"}:
        raise Failed(
            f"Container {record.id} is marked for removal and cannot be connected or disconnected to the "
            "network"
        )
