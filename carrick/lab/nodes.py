"""Start and end the first process of a node: the one that everything on the node descends from.

Mounts and names it makes itself, see `first`; links it gets from `underlay`, what runs on it from `daemons`
and `etcd`.
"""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from ..model.errors import Failed
from . import first
from .plan import Node, Topology, hosts_file
from .processes import Process, start_in_background
from .record import Record

_START_S = 30.0
_CGROUPS = Path("/sys/fs/cgroup")
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_UNSHARE = (
    *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL"),
    *("--propagation", "private", "--"),
)


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """A node's directory below the lab's state directory. It outlives the node's being switched off."""

    directory: Path

    @property
    def var_lib(self) -> Path:
        return self.directory / "var-lib"

    @property
    def etc_carrick(self) -> Path:
        return self.directory / "etc-carrick"

    @property
    def log(self) -> Path:
        """What the node's program (carrickd, etcd) writes."""
        return self.directory / "log"

    @property
    def boot_log(self) -> Path:
        """What starting the node writes: nothing, if all is well."""
        return self.directory / "boot.log"


def files_of(record: Record, name: str) -> NodeFiles:
    """Return where a node's files are."""
    return NodeFiles(record.state_dir / name)


def prepare_files(record: Record, node: Node) -> None:
    """Make a node's directory. Repeatable."""
    files = files_of(record, node.name)
    # Containers' own users must get to their files through it.
    for directory in (files.directory, files.var_lib, files.etc_carrick):
        directory.mkdir(mode=0o711, exist_ok=True)
    files.var_lib.chmod(0o755)


def cgroup_of(record: Record, name: str) -> str:
    """Return the parent of a node's cgroups."""
    return f"{record.cgroup}/{name}"


def boot(
    record: Record,
    node: Node,
    topology: Topology,
    write_down: Callable[[Process], None],
    *,
    tied: bool = False,
    timeout_s: float = _START_S,
) -> subprocess.Popen[bytes] | None:
    """Start a node's first process, in the router's pid namespace unless it is the router.

    `write_down` is called with the process before it goes on. `tied`: the kernel ends the router, and so
    everything, when the calling thread ends; then the process to wait for in the end is returned.
    Raises Failed.
    """
    files = files_of(record, node.name)
    own = Path(first.__file__).absolute()
    name = f"boot-{os.getpid()}.sock"
    wanted = {
        "socket": name,
        "hostname": node.name,
        "etc": {
            "hostname": f"{node.name}\n",
            "hosts": hosts_file(topology, node.name),
            "resolv.conf": _resolv_conf(node),
        },
    }
    (files.directory / "boot.json").write_text(json.dumps(wanted))
    command = [*_UNSHARE, sys.executable, "-I", "-S", str(own), str(files.directory)]
    holder: subprocess.Popen[bytes] | None = None
    files.boot_log.unlink(missing_ok=True)
    path = files.directory / name
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        _bind(listener, files.directory, name)
        try:
            listener.listen(1)
            listener.settimeout(timeout_s)
            if router := record.processes.get(topology.router.name):
                shell = ("/bin/sh", "-c", 'setsid "$@" &', "sh")
                command = ["nsenter", "-t", str(router.pid), "--pid", "--", *shell, *command]
            if tied and router is None:
                with files.boot_log.open("ab") as log:
                    holder = subprocess.Popen(
                        ["setpriv", "--pdeathsig", "KILL", "--", *command],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        cwd="/",
                        env=base_environment(),
                        start_new_session=True,
                    )
            else:
                start_in_background(command, files.boot_log, environment=base_environment())
            _greet(listener, node.name, files, write_down)
        except BaseException:
            if holder is not None:
                holder.kill()
                holder.wait()
            raise
        finally:
            path.unlink(missing_ok=True)
    return holder


def _greet(
    listener: socket.socket, name: str, files: NodeFiles, write_down: Callable[[Process], None]
) -> None:
    try:
        channel, _ = listener.accept()
        with channel:
            said = channel.recv(4096).decode(errors="replace")
            if said != "ready":
                raise Failed(f"{name} did not start: {said}{_log_of(files)}")
            credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid, _, _ = struct.unpack("3i", credentials)
            write_down(Process.of(pid))
            channel.sendall(b"go")
    except TimeoutError:
        raise Failed(f"{name} did not start within {_START_S:.0f} s{_log_of(files)}") from None


def _log_of(files: NodeFiles) -> str:
    with suppress(OSError):
        if text := files.boot_log.read_text(errors="replace").strip():
            return f": {text}"
    return ""


def _bind(listener: socket.socket, directory: Path, name: str) -> None:
    """Bind to a path that may be longer than the 107 bytes that a socket's address has."""
    descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def _resolv_conf(node: Node) -> str:
    """Nothing answers there, and it says so at once; a resolver that would be waited for would be worse."""
    return f"nameserver {node.segment.router4 if node.segment else '127.0.0.1'}\n"


def base_environment() -> dict[str, str]:
    """Return the environment of what runs on a node: this Carrick's programs first in the path."""
    own = str(Path(sys.executable).absolute().parent)
    return {
        "PATH": ":".join((own, *_PATH)),
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DOCKER_HOST": "unix:///run/carrick/carrick.sock",
    }


# --- Cgroups ----------------------------------------------------------------------------------


def find_cgroups(name: str) -> list[Path]:
    """Return the directories of the cgroup and those below it, in every hierarchy, the deepest first."""
    tops = [*_CGROUPS.glob(name), *_CGROUPS.glob(f"*/{name}")]
    found = {Path(place) for top in tops for place, _, _ in os.walk(top)}
    return sorted(found, key=lambda path: (-len(path.parts), path))


def remove_cgroups(name: str, timeout_s: float = 10.0) -> list[Path]:
    """Remove a cgroup and those below it; return what was left. They empty a moment after their processes."""
    end = monotonic() + timeout_s
    while left := find_cgroups(name):
        for path in left:
            with suppress(OSError):
                path.rmdir()
        if monotonic() > end:
            return find_cgroups(name)
        sleep(0.01)
    return []
