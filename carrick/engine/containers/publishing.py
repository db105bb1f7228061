"""Publish further ports of a container that is there, and take them back."""

from collections.abc import Sequence
from dataclasses import replace

from ...model.containers import PortBinding
from ...model.errors import InvalidRequest, NotFound
from ..events import EventBus, emit_container
from ..ports import PortService
from ..state import State, Write
from ..values import ContainerRecord, PublishedPort
from .modes import MODES_WITHOUT_NETWORK


class Publisher:
    def __init__(self, *, state: State, ports: PortService, events: EventBus) -> None:
        self._state = state
        self._ports = ports
        self._events = events

    async def add(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            _check_publishable(record)
            host = record.host_config
            fresh = [item for item in bindings if item not in host.port_bindings]
            after = replace(record, host_config=replace(host, port_bindings=(*host.port_bindings, *fresh)))
            sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
            if sandbox is None or not sandbox.active:
                await self._state.save(Write(containers=[after]))
                return
            ports = await self._ports.hold(record, sandbox, fresh)
            added = replace(after, ports=ports)
            after = replace(after, ports=record.ports + ports)
            await self._state.save(Write(containers=[after]))
            await self._ports.publish(self._ports.publishing(added, sandbox))
        emit_container(self._events, record, "update")

    async def remove(self, reference: str, bindings: Sequence[PortBinding]) -> None:
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            gone = [port for port in record.ports if any(_is_of(port, item) for item in bindings)]
            kept_bindings = tuple(
                item
                for item in record.host_config.port_bindings
                if not any(_same_binding(item, other) for other in bindings)
            )
            if not gone and kept_bindings == record.host_config.port_bindings:
                raise NotFound(f"container {record.name} does not publish that port")
            after = replace(
                record,
                host_config=replace(record.host_config, port_bindings=kept_bindings),
                ports=tuple(port for port in record.ports if port not in gone),
            )
            sandbox = self._state.sandboxes.get(record.sandbox_id) if record.sandbox_id else None
            if sandbox is not None and sandbox.active:
                dropped = tuple(
                    item for item in record.host_config.port_bindings if item not in kept_bindings
                )
                parting = replace(
                    record,
                    ports=tuple(gone),
                    host_config=replace(record.host_config, port_bindings=dropped, publish_all_ports=False),
                )
                publishing = self._ports.publishing(parting, sandbox)
                await self._ports.unpublish(publishing)
                await self._ports.release(record, publishing.held)
            await self._state.save(Write(containers=[after]))
        emit_container(self._events, record, "update")


def _check_publishable(record: ContainerRecord) -> None:
    mode = record.host_config.network_mode
    if mode in MODES_WITHOUT_NETWORK or mode.startswith("container:"):
        raise InvalidRequest(
            f"container {record.name} has no network of its own to publish ports of "
            f"(network mode {mode.partition(':')[0]})"
        )


def _is_of(port: PublishedPort, binding: PortBinding) -> bool:
    """Tell whether a published port is one that `binding` names; what it leaves open matches all."""
    return (
        (port.container_port, port.protocol) == (binding.container_port, binding.protocol)
        and (not binding.host_ip or binding.host_ip == port.host_ip)
        and (not binding.host_port or binding.host_port == str(port.host_port))
    )


def _same_binding(one: PortBinding, asked: PortBinding) -> bool:
    return (
        (one.container_port, one.protocol) == (asked.container_port, asked.protocol)
        and (not asked.host_ip or asked.host_ip == one.host_ip)
        and (not asked.host_port or one.host_port in {"", asked.host_port})
    )
