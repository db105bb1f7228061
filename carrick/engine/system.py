"""What `info` shows, the events, and `doctor`."""

import os
import platform
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from ..drivers.registry import DriverRegistry
from ..host.config import Config
from ..host.runtime.api import Runtime
from ..model.errors import InvalidRequest
from . import filters as filtering
from .doctor import Doctor
from .events import EventBus
from .state import State
from .values import Event, Filters, Finding, SystemInfo

_EVENT_FILTERS = {
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "scope",
    "type",
    "volume",
}


class SystemService:
    def __init__(
        self,
        *,
        config: Config,
        state: State,
        drivers: DriverRegistry,
        events: EventBus,
        doctor: Doctor,
        started: datetime,
        host_id: str,
        runtime: Runtime,
    ) -> None:
        self._config = config
        self._state = state
        self._drivers = drivers
        self._events = events
        self._doctor = doctor
        self._started = started
        self._host_id = host_id
        self._runtime = runtime

    async def info(self) -> SystemInfo:
        release = _os_release()
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        return SystemInfo(
            id=self._host_id,
            name=platform.node(),
            root_dir=str(self._config.state_dir),
            kernel_version=platform.release(),
            operating_system=release.get("PRETTY_NAME", platform.system()),
            os_version=release.get("VERSION_ID", ""),
            architecture=platform.machine(),
            cpus=os.cpu_count() or 1,
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            cgroup_version="2" if unified else "1",
            cgroup_driver="cgroupfs",
            drivers=tuple(self._drivers.names()),
            started=self._started,
            runtime=self._config.runtime,
            storage_driver="overlay2",
            components=await self._runtime.components(),
        )

    async def doctor(self) -> list[Finding]:
        return await self._doctor.examine()

    async def fix(self) -> list[Finding]:
        await self._doctor.fix()
        return await self._doctor.examine()

    async def events(
        self, *, since_ns: int | None = None, until_ns: int | None = None, filters: Filters | None = None
    ) -> AsyncIterator[Event]:
        wanted = filters or {}
        filtering.check_names(wanted, _EVENT_FILTERS)
        if since_ns is not None and until_ns is not None and until_ns < since_ns:
            raise InvalidRequest("`since` time cannot be after `until` time")
        async for event in self._events.stream(since_ns, until_ns):
            if filtering.event_matches(event, wanted):
                yield event


def _os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key: value.strip('"') for key, _, value in pairs}
