"""Run CNI plugins: find the program, give it environment and input, wait for its answer, and not for ever.

Which plugins, with what, in which order is decided elsewhere; here is one run of one program. A plugin that
does not end in time is killed with its children.

A daemon may be killed while a plugin runs, and the plugin goes on: for each attachment there is a lock that
the plugin holds as long as it lives, and whoever comes next for the same attachment waits for it.
"""

import asyncio
import fcntl
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..model.errors import Failed, InvalidRequest, NotFound, Unavailable

_MOST_OUTPUT = 4 << 20
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What a plugin left: its exit code (negative: a signal), standard output and standard error."""

    code: int
    output: str
    errors: str


class CniRunner(Protocol):
    """What runs CNI plugins; `LocalCni` is the real one, `carrick.testing.FakeCni` the fake."""

    def find(self, plugin: str, path: Sequence[str]) -> Path:
        """Return the program of a plugin. NotFound in libcni's words."""
        ...

    def read_configuration(self, path: str) -> str:
        """Read a configuration's file. InvalidRequest if that cannot be."""
        ...

    def has_netns(self, path: str) -> bool:
        """Tell whether a namespace is at `path`."""
        ...

    async def run(
        self,
        plugin: str,
        path: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
        *,
        attachment: str,
        timeout_s: float,
    ) -> Answer:
        """Run a plugin to its end. NotFound without the program; Failed if it took longer than `timeout_s`
        or said more than can be sensible; Unavailable while another run for `attachment` goes on."""
        ...


class LocalCni:
    """Implements `CniRunner`; `locks` is a directory for the locks."""

    def __init__(self, locks: Path) -> None:
        self._locks = locks

    def find(self, plugin: str, path: Sequence[str]) -> Path:
        for directory in path:
            candidate = Path(directory) / plugin
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
        raise NotFound(
            f'failed to find plugin "{plugin}" in path [{" ".join(path)}]',
            remedy="install it there, or create the network with -o path=DIRECTORY:…",
        )

    def read_configuration(self, path: str) -> str:
        if not path.startswith("/"):
            raise InvalidRequest(
                f"conflist={path}: the path must be absolute, it is read where carrickd runs"
            )
        try:
            with Path(path).open("rb") as file:
                data = file.read(_MOST_OUTPUT)
            return data.decode()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InvalidRequest(f"the CNI configuration {path} cannot be read: {reason}") from error

    def has_netns(self, path: str) -> bool:
        try:
            return Path(path).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
        except OSError:
            return False

    async def run(
        self,
        plugin: str,
        path: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
        *,
        attachment: str,
        timeout_s: float,
    ) -> Answer:
        program = self.find(plugin, path)
        async with self._lock(attachment, timeout_s) as lock:
            try:
                process = await asyncio.create_subprocess_exec(
                    program,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env={**os.environ, **environment},
                    cwd="/",
                    start_new_session=True,
                    pass_fds=(lock,),
                )
            except OSError as error:
                raise Failed(f"{program} cannot be run: {error.strerror}") from error
            try:
                async with asyncio.timeout(timeout_s):
                    return await _converse(process, stdin, plugin)
            except TimeoutError:
                raise Failed(
                    f'plugin type="{plugin}" did not end within {timeout_s:g} s and was killed',
                    remedy=f"see what {program} waits for; network create -o timeout=SECONDS allows more",
                ) from None
            finally:
                await _end(process)

    @asynccontextmanager
    async def _lock(self, attachment: str, timeout_s: float) -> AsyncIterator[int]:
        """Hold the attachment's lock; the descriptor is for the plugin, which holds it while it lives."""
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / hashlib.sha256(attachment.encode()).hexdigest()[:32]
        end = asyncio.get_running_loop().time() + timeout_s
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if asyncio.get_running_loop().time() > end:
                        raise Unavailable(
                            f"a CNI plugin that was started earlier for {attachment} does not end",
                            remedy=f"find it with: fuser {path}",
                        ) from None
                    await asyncio.sleep(_POLL_S)
            yield descriptor
        finally:
            # Gone before it is let go: whoever waits for it holds it then, and a newcomer makes another.
            # Both cannot be under way, because the engine makes one call for an attachment at a time.
            with suppress(OSError):
                path.unlink(missing_ok=True)
            os.close(descriptor)


async def _converse(process: asyncio.subprocess.Process, stdin: bytes, plugin: str) -> Answer:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    writing = asyncio.create_task(_write(process.stdin, stdin))
    try:
        async with asyncio.TaskGroup() as group:
            output = group.create_task(_read(process.stdout))
            errors = group.create_task(_read(process.stderr))
    except* _TooMuchError:
        raise Failed(
            f'plugin type="{plugin}" wrote more than {_MOST_OUTPUT >> 20} MiB and was killed'
        ) from None
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    code = await process.wait()
    return Answer(
        code, output.result().decode(errors="replace"), errors.result().decode(errors="replace").strip()
    )


class _TooMuchError(Exception):
    """A plugin writes without end."""


async def _write(stream: asyncio.StreamWriter, data: bytes) -> None:
    # A plugin need not read what it is told.
    with suppress(BrokenPipeError, ConnectionResetError):
        stream.write(data)
        await stream.drain()
    stream.close()


async def _read(stream: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await stream.read(65536):
        size += len(part)
        if size > _MOST_OUTPUT:
            raise _TooMuchError
        parts.append(part)
    return b"".join(parts)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a plugin that still runs, with everything it started, and let go of its pipes."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    # `wait` waits for the pipes as well: they may be full, or held by what left the plugin's session.
    transport = getattr(process, "_transport", None)
    for number in (0, 1, 2):
        pipe = transport.get_pipe_transport(number) if transport is not None else None
        if pipe is not None:
            pipe.close()
    await process.wait()
    if transport is not None:
        transport.close()
