"""Say what a container's process is to be built of: its namespace, files, mounts and variables."""

from pathlib import Path

from ..domains.sandboxes.links import link_environment
from ..host.runtime.api import FileMount, LaunchRequest
from ..model.ids import ContainerId, SandboxId
from ..model.networks import Sandbox
from .state import State
from .surroundings import Surroundings, hostname
from .values import ContainerRecord


class Launcher:
    def __init__(self, state: State, surroundings: Surroundings) -> None:
        self._state = state
        self._surroundings = surroundings

    def request(self, record: ContainerRecord, sandbox: Sandbox | None) -> LaunchRequest:
        directory = self._surroundings.directory(sandbox.id if sandbox else SandboxId(record.id))
        host = record.host_config
        files = tuple(
            FileMount(directory / name, f"/etc/{name}") for name in ("hosts", "resolv.conf", "hostname")
        )
        shares_names = host.network_mode.startswith("container:")
        target = self._state.containers.get(sandbox.container_id) if sandbox and shares_names else None
        return LaunchRequest(
            container_id=record.id,
            image_id=record.image_id,
            config=record.config,
            host_config=host,
            hostname="" if host.uts_mode == "host" else hostname(target or record),
            netns=Path(sandbox.netns) if sandbox else None,
            files=files,
            mounts=record.mounts,
            extra_env=tuple(self._link_environment(record, sandbox)),
            pid_of=self._container_of(host.pid_mode),
            ipc_of=self._container_of(host.ipc_mode),
        )

    def _container_of(self, mode: str) -> ContainerId | None:
        kind, _, reference = mode.partition(":")
        return self._state.find_container(reference).id if kind == "container" else None

    def _link_environment(self, record: ContainerRecord, sandbox: Sandbox | None) -> list[str]:
        """Return the variables of links on the default network, as Docker has always given them."""
        if sandbox is None or sandbox.container_id != record.id:
            return []
        lines: list[str] = []
        for target, alias, endpoint in self._surroundings.links(record, sandbox):
            other = self._state.sandboxes.get(target.sandbox_id) if target.sandbox_id else None
            theirs = other.endpoint(endpoint.network_id) if other and other.active else None
            if endpoint.network_name == "bridge" and theirs is not None:
                lines += link_environment(
                    record.name,
                    alias,
                    theirs.ipv4_address,
                    target.config.exposed_ports,
                    target.config.env,
                )
        return lines
