"""A daemon that kills itself at the n-th effect: `python -m carrick.testing.crashing`.

Its arguments are those of `carrickd`. Effects are what can be seen from outside: commits of the store, steps
of the kernel (one by one), calls of the runtime, of the port holder and of the resolver. Each has two points,
before it and after it. Counting begins when the file that CARRICK_CRASH_FILE names appears; it holds the
number of the point to die at. Where the daemon died is appended to that file with `.log`.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from .. import daemon
from ..domains.dns.protocol import Reply, Request
from ..host.kernel import LinuxKernel
from ..host.portholder.client import PortHolderClient
from ..host.portholder.contract import HeldPort
from ..host.resolver.control import ResolverClient
from ..host.runtime.api import Launched, LaunchRequest
from ..host.runtime.local import LocalRuntime
from ..host.store.contract import Change
from ..host.store.sqlite import SqliteStore
from ..model.ids import ContainerId, ImageId
from ..model.steps import Step

T = TypeVar("T")
FILE_VARIABLE = "CARRICK_CRASH_FILE"


class Fuse:
    """Counts points, and kills the process at the one it was told."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._armed = ""
        self._count = 0

    def point(self, name: str) -> None:
        try:
            text = self._file.read_text()
        except FileNotFoundError:
            self._armed = ""
            return
        if text != self._armed:
            self._armed, self._count = text, 0
        self._count += 1
        if self._count == int(text):
            with self._file.with_suffix(".log").open("a") as log:
                log.write(f"{self._count} {name}\n")
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()

    async def around(self, name: str, effect: Awaitable[T]) -> T:
        self.point(f"before {name}")
        result = await effect
        self.point(f"after {name}")
        return result


def with_fuse(fuse: Fuse) -> dict[str, type]:
    """Return what the daemon is built of, by name, with a point on either side of every effect."""

    class CrashingKernel(LinuxKernel):
        async def apply(self, steps: Sequence[Step]) -> None:
            for step in steps:
                await fuse.around(step.describe(), super().apply([step]))

        async def remove(self, steps: Sequence[Step]) -> list[Exception]:
            errors: list[Exception] = []
            for step in steps:
                errors += await fuse.around(step.describe(), super().remove([step]))
            return errors

    class CrashingStore(SqliteStore):
        async def commit(self, changes: Sequence[Change], *others: Any, **named: Any) -> Any:
            name = "commit " + ", ".join(str(getattr(item, "key", item))[:40] for item in changes)
            return await fuse.around(name, super().commit(changes, *others, **named))

    class CrashingRuntime(LocalRuntime):
        async def provision(
            self, container_id: ContainerId, image_id: ImageId, *others: Any, **named: Any
        ) -> None:
            await fuse.around("provision", super().provision(container_id, image_id, *others, **named))

        async def create(self, request: LaunchRequest) -> Launched:
            return await fuse.around("runc create", super().create(request))

        async def start(self, container_id: ContainerId) -> datetime:
            return await fuse.around("runc start", super().start(container_id))

        async def kill(self, container_id: ContainerId, signal: int) -> None:
            await fuse.around("kill", super().kill(container_id, signal))

        async def release(self, container_id: ContainerId) -> None:
            await fuse.around("release", super().release(container_id))

        async def remove(self, container_id: ContainerId) -> None:
            await fuse.around("remove", super().remove(container_id))

    class CrashingHolder(PortHolderClient):
        async def hold(self, owner: str, ports: Sequence[HeldPort]) -> None:
            await fuse.around("hold ports", super().hold(owner, ports))

        async def release(self, owner: str, ports: Sequence[HeldPort] | None = None) -> None:
            await fuse.around("release ports", super().release(owner, ports))

        async def sync(self, everything: Mapping[str, Sequence[HeldPort]]) -> Mapping[str, str]:
            return await fuse.around("sync ports", super().sync(everything))

    class CrashingResolver(ResolverClient[Request, Reply]):
        async def request(self, message: Request, *, timeout: float = 5.0) -> Reply:
            return await fuse.around("names", super().request(message, timeout=timeout))

    return {
        "LinuxKernel": CrashingKernel,
        "SqliteStore": CrashingStore,
        "LocalRuntime": CrashingRuntime,
        "PortHolderClient": CrashingHolder,
        "ResolverClient": CrashingResolver,
    }


def main() -> int:
    """Run `carrickd` with everything that has effects replaced by what counts them."""
    fuse = Fuse(Path(os.environ[FILE_VARIABLE]))
    for name, replacement in with_fuse(fuse).items():
        assert hasattr(daemon, name), f"the daemon builds no {name} any more"
        setattr(daemon, name, replacement)
    return daemon.main()


if __name__ == "__main__":
    sys.exit(main())
