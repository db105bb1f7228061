"""Change a container that is there: its name, its limits and its restart policy."""

from dataclasses import fields, replace

from ...host.runtime.api import Runtime
from ...model.containers import Resources
from ...model.errors import Conflict, InvalidRequest
from ...model.ids import ContainerId
from ..events import EventBus, emit_container
from ..limits import check_resources
from ..naming import check_name
from ..sandboxes import SandboxService
from ..state import State, Write
from ..values import UpdateContainer
from .names import ContainerNames


class Changer:
    def __init__(
        self,
        *,
        state: State,
        runtime: Runtime,
        sandboxes: SandboxService,
        names: ContainerNames,
        events: EventBus,
    ) -> None:
        self._state = state
        self._runtime = runtime
        self._sandboxes = sandboxes
        self._names = names
        self._events = events

    async def rename(self, reference: str, name: str) -> None:
        record = self._state.find_container(reference)
        if not name:
            raise InvalidRequest("Neither old nor new names may be empty")
        try:
            name = check_name(name)
        except InvalidRequest as error:
            text = error.message.replace(f"({name})", f"(/{name.removeprefix('/')})")
            raise InvalidRequest(f"Error when allocating new name: {text}") from error
        async with self._names.lock(), self._state.lock(record.id):
            record = self._state.find_container(record.id)
            if name == record.name:
                raise InvalidRequest("Renaming a container with the same name as its current name")
            try:
                self._names.check_free(name)
            except Conflict as error:
                raise Conflict(f"Error when allocating new name: {error.message}") from error
            old = record.name
            record = replace(record, name=name)
            await self._state.save(Write(containers=[record]))
            await self._sandboxes.rename(record)
        emit_container(self._events, record, "rename", oldName=f"/{old}")

    async def update(self, reference: str, request: UpdateContainer) -> tuple[str, ...]:
        """Return warnings."""
        record = self._state.find_container(reference)
        async with self._state.lock(record.id):
            record = self._state.find_container(record.id)
            host = record.host_config
            if request.restart_policy is not None:
                if host.auto_remove and request.restart_policy.name != "no":
                    raise InvalidRequest("Restart policy cannot be updated because AutoRemove is enabled")
                host = replace(host, restart_policy=request.restart_policy)
            if request.resources is not None:
                check_resources(request.resources)
                _check_update(record.id, host.resources, request.resources)
                host = replace(host, resources=_merge(host.resources, request.resources))
                if record.state.is_running:
                    await self._runtime.update(record.id, request.resources)
            await self._state.save(Write(containers=[replace(record, host_config=host)]))
        emit_container(self._events, record, "update")
        return ()


def _check_update(container_id: ContainerId, old: Resources, new: Resources) -> None:
    """Raise Conflict for limits that contradict those that a container has."""
    problem = ""
    if new.memory and not new.memory_swap and 0 < old.memory_swap < new.memory:
        problem = (
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    elif old.nano_cpus and new.cpu_quota:
        problem = "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
    elif old.nano_cpus and new.cpu_period:
        problem = "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set"
    elif new.nano_cpus and (old.cpu_quota or old.cpu_period):
        other = "CPU Quota" if old.cpu_quota else "CPU Period"
        problem = f"Conflicting options: Nano CPUs cannot be updated as {other} has already been set"
    if problem:
        raise Conflict(f"Cannot update container {container_id}: {problem}")


def _merge(old: Resources, new: Resources) -> Resources:
    """Return the limits with those replaced that `new` sets; 0, "" and None leave one as it is."""
    given = {item.name: value for item in fields(new) if (value := getattr(new, item.name))}
    return replace(old, **given)
