"""Where everything of the runtime lies: two directories given by the caller, nothing outside them.

    STATE/containers/ID/   launch.json, diff/ (upper), work/, root/ (mount point), log, log.1 …
    STATE/filler/          the lowest layer of every root: mount points that an image may lack
    RUN/bundles/ID/        config.json and what conmon makes: attach, ctl, pid files
    RUN/execs/ID/EXEC/     the same for each exec session
    RUN/exits/ID           the exit code, written by conmon
    RUN/runc/              runc's own state

STATE outlives a reboot; RUN need not, for all it tells about is running processes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ...model.errors import InvalidRequest
from ...model.ids import ContainerId

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True)
class ContainerPaths:
    """The paths of one container."""

    state: Path
    bundle: Path
    execs: Path
    exit_file: Path
    runc_state: Path

    @property
    def upper(self) -> Path:
        """The writable layer."""
        return self.state / "diff"

    @property
    def work(self) -> Path:
        """Overlayfs's scratch directory, on the same file system as `upper`."""
        return self.state / "work"

    @property
    def root(self) -> Path:
        """Where the root file system is mounted."""
        return self.state / "root"

    @property
    def log(self) -> Path:
        """The current log file; older ones have .1, .2 … after it."""
        return self.state / "log"

    @property
    def launch(self) -> Path:
        """What we remember of the container: its layer, its mounts, its last launch."""
        return self.state / "launch.json"

    @property
    def shm(self) -> Path:
        """/dev/shm of a container whose IPC namespace others may join."""
        return self.bundle / "shm"

    @property
    def container_pid_file(self) -> Path:
        """Written by runc through conmon: the container's first process."""
        return self.bundle / "pid"

    @property
    def conmon_pid_file(self) -> Path:
        """Written by conmon: itself."""
        return self.bundle / "conmon.pid"


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths, from the two directories."""

    state_dir: Path
    run_dir: Path

    @property
    def containers(self) -> Path:
        """A directory for each container."""
        return self.state_dir / "containers"

    @property
    def filler(self) -> Path:
        """The layer of mount points below every image."""
        return self.state_dir / "filler"

    @property
    def bundles(self) -> Path:
        """A bundle for each container that runs or was made to."""
        return self.run_dir / "bundles"

    @property
    def execs(self) -> Path:
        """A directory for each container with exec sessions."""
        return self.run_dir / "execs"

    @property
    def exits(self) -> Path:
        """A file for each container that ended."""
        return self.run_dir / "exits"

    @property
    def runc(self) -> Path:
        """runc's --root."""
        return self.run_dir / "runc"

    def of(self, container_id: ContainerId) -> ContainerPaths:
        """Return a container's paths; an id that is no plain file name is refused."""
        if not _SAFE.fullmatch(container_id):
            raise InvalidRequest(f"invalid container id: {container_id!r}")
        return ContainerPaths(
            state=self.containers / container_id,
            bundle=self.bundles / container_id,
            execs=self.execs / container_id,
            exit_file=self.exits / container_id,
            runc_state=self.runc / container_id,
        )

    def known_ids(self) -> tuple[ContainerId, ...]:
        """Return every container of which anything is on disk, sorted."""
        found = set()
        for place in (self.containers, self.bundles, self.execs, self.exits, self.runc):
            if place.is_dir():
                found |= {entry.name for entry in place.iterdir() if _SAFE.fullmatch(entry.name)}
        return tuple(ContainerId(name) for name in sorted(found))
