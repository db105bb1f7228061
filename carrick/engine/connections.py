"""Connect containers to networks and disconnect them, running or not, in Docker's words."""

from dataclasses import replace

from ..model.errors import Denied, Failed, InvalidRequest, NotFound
from ..model.networks import EndpointSettings, Network, Sandbox
from .checks import check_settings
from .events import EventBus
from .ports import PortService
from .sandboxes import SandboxService
from .state import State, Write
from .values import Attachment, ContainerRecord


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
            kept = tuple(item for item in record.attachments if not self._names(item, network))
            record = replace(record, attachments=(*kept, Attachment(network.name, settings)))
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
                return
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
    if mode == "none" or network.driver == "null":
        raise InvalidRequest(
            "container cannot be connected to multiple networks with one of the networks in private (none) "
            "mode"
        )
    if network.config_only:
        raise Denied("cannot create endpoint on configuration-only network")
    if record.state.status in {"removing", "dead"}:
        raise Failed(
            f"Container {record.id} is marked for removal and cannot be connected or disconnected to the "
            "network"
        )
