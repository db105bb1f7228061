"""Further processes in a running container, each under a conmon of its own.

A session's directory holds the process object for runc, the attach socket and the exit code. It is removed
when the session has ended; what a killed daemon left goes with the container's release.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...model.errors import InvalidRequest
from . import conmon, syscalls
from .api import ExecRequest
from .attach import RunningExec, connect_attach
from .hostfacts import HostFacts
from .identity import Identity
from .inotify import Inotify, Watch
from .layout import ContainerPaths
from .processes import ProcessHandle, descendants, handle_of, kill_session
from .spec import Json, build_exec_process
from .supervision import UNKNOWN_EXIT_CODE, find_conmon
from .teardown import search_conmons

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


_DYING_S = 3.0


def _search(directories: list[Path]) -> dict[Path, ProcessHandle]:
    return {item: found[0] for item in directories if (found := search_conmons([item]))}


class Execs:
    """Starts exec sessions and takes their exit codes."""

    def __init__(self, programs: conmon.Conmon, inotify: Inotify) -> None:
        self._conmon = programs
        self._inotify = inotify
        self._watches: dict[RunningExec, list[Watch]] = {}
        self._descriptors: dict[RunningExec, int] = {}

    def close(self) -> None:
        """Stop watching; the processes run on."""
        for session in tuple(self._watches):
            self._finish(session, UNKNOWN_EXIT_CODE, keep=True)

    async def start(
        self,
        request: ExecRequest,
        paths: ContainerPaths,
        identity: Identity | None,
        facts: HostFacts,
    ) -> RunningExec:
        """Start one. The session is connected before the process runs."""
        if not _SAFE.fullmatch(request.exec_id):
            raise InvalidRequest(f"invalid exec id: {request.exec_id!r}")
        directory = paths.execs / request.exec_id
        exit_dir = directory / "exits"
        exit_dir.mkdir(parents=True)
        connection: list[socket.socket] = []
        try:
            spec = msgspec.json.decode((paths.bundle / "config.json").read_bytes(), type=Json)
            own = spec["process"]
            assert isinstance(own, dict)
            process = build_exec_process(
                own,
                args=request.args,
                tty=request.tty,
                env=request.env,
                working_dir=request.working_dir,
                identity=identity,
                privileged=request.privileged,
                facts=facts,
            )
            if request.tty and request.console_size is not None:
                process["consoleSize"] = {
                    "height": request.console_size.rows,
                    "width": request.console_size.columns,
                }
            process_file = directory / "process.json"
            process_file.write_bytes(msgspec.json.encode(process))

            async def connect() -> None:
                connection.append(connect_attach(directory))

            pid = await conmon.launch(
                self._conmon,
                conmon.ConmonLaunch(
                    container_id=request.container_id,
                    unique_id=request.exec_id,
                    directory=directory,
                    exit_dir=exit_dir,
                    terminal=request.tty,
                    stdin=request.stdin,
                    exec_process=process_file,
                ),
                connect,
            )
        except BaseException:
            for opened in connection:
                opened.close()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        session = RunningExec(
            directory=directory,
            pid=pid,
            connection=connection[0] if connection else None,
            exit_code=asyncio.get_running_loop().create_future(),
            on_close=lambda _: None,
            process=handle_of(pid),
        )
        self._watch(session, exit_dir / request.container_id)
        return session

    async def end_old(self, paths: ContainerPaths, is_meant: Callable[[str], bool]) -> int:
        """Kill execs of an earlier daemon and take their directories away; return how many ran."""
        if not paths.execs.is_dir():
            return 0
        ours = {session.directory for session in self._watches}
        old = [item for item in paths.execs.iterdir() if is_meant(item.name) and item not in ours]
        conmons = {item: conmon for item in old if (conmon := find_conmon(item)) is not None}
        if missing := [item for item in old if item not in conmons]:
            # Cut short before it wrote its number: nothing is known of it but its command line.
            conmons |= await asyncio.to_thread(_search, missing)
        for directory in old:
            conmon = conmons.get(directory)
            if conmon is not None:
                for pid in descendants(conmon.pid):
                    if (process := handle_of(pid)) is not None:
                        kill_session(process)
                await conmon.wait(_DYING_S)
            shutil.rmtree(directory, ignore_errors=True)
        return len(conmons)

    def _watch(self, session: RunningExec, exit_file: Path) -> None:
        def look(_: str = "") -> None:
            with contextlib.suppress(FileNotFoundError, ValueError):
                self._finish(session, int(exit_file.read_text()))

        self._watches[session] = [
            self._inotify.add(exit_file.parent, syscalls.IN_MOVED_TO | syscalls.IN_CLOSE_WRITE, look)
        ]
        conmon_process = find_conmon(session.directory)
        descriptor = None if conmon_process is None else conmon_process.open_pidfd()
        if descriptor is None:
            look()
            if not session.exit_code.done():
                self._finish(session, UNKNOWN_EXIT_CODE)
            return

        def conmon_ended() -> None:
            look()
            if not session.exit_code.done():
                self._finish(session, UNKNOWN_EXIT_CODE)

        self._descriptors[session] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, conmon_ended)
        look()

    def _finish(self, session: RunningExec, code: int, *, keep: bool = False) -> None:
        for watch in self._watches.pop(session, ()):
            self._inotify.remove(watch)
        descriptor = self._descriptors.pop(session, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        if not session.exit_code.done():
            session.exit_code.set_result(code)
            if not keep:
                shutil.rmtree(session.directory, ignore_errors=True)
