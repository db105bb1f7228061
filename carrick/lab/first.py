"""The first process of a host of a lab: makes its mounts, says so, then reaps orphans for ever.

Started as a script of its own with `python -I -S`, inside fresh network, mount, host name and pid
namespaces; imports the standard library only, to be quick and small. Its one argument is the node's
directory, where `boot.json` says the rest: socket, hostname, and etc (names and texts of files).

Whoever starts it listens on a Unix socket, whose peer credentials give it this process's pid as it sees it.
It answers "go" once it has written that pid down. If it dies before, this process ends too, so that nothing
runs that nobody knows of.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC = 1, 32, 4096, 16384
_MACHINE_ETC = Path("/run/.etc-of-the-machine")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = (source.encode(), target.encode(), kind.encode() or None)
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {source} on {target}: {os.strerror(number)}")


def _prepare(files: "dict[str, str]") -> None:
    """Make the mounts. What the machine has at the same place is opened before it is covered."""
    var_lib = os.open("var-lib", os.O_PATH)
    etc_carrick = os.open("etc-carrick", os.O_PATH)
    etc = os.open("/etc", os.O_PATH)
    cgroups = os.open("/sys/fs/cgroup", os.O_PATH)

    _mount("proc", "/proc", "proc")
    # The machine's /sys shows the machine's links. A new one comes without cgroups.
    _mount("sysfs", "/sys", "sysfs")
    _mount(f"/proc/self/fd/{cgroups}", "/sys/fs/cgroup", flags=_MS_BIND | _MS_REC)
    _mount("tmpfs", "/run", "tmpfs", data="mode=755")
    for name in ("netns", "lock"):
        Path("/run", name).mkdir()
    _mount(f"/proc/self/fd/{var_lib}", "/var/lib", flags=_MS_BIND)
    _prepare_etc(etc, files)
    Path("/etc/carrick").mkdir()
    _mount(f"/proc/self/fd/{etc_carrick}", "/etc/carrick", flags=_MS_BIND)
    for descriptor in (var_lib, etc_carrick, etc, cgroups):
        os.close(descriptor)


def _prepare_etc(etc: int, files: "dict[str, str]") -> None:
    """Put a /etc over the machine's that has its own few files, and else leads there, read-only.

    No overlay: the kernel stacks two at most, and the machine's own may be the second.
    """
    _MACHINE_ETC.mkdir()
    _mount(f"/proc/self/fd/{etc}", str(_MACHINE_ETC), flags=_MS_BIND | _MS_REC)
    _mount("none", str(_MACHINE_ETC), flags=_MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    _mount("tmpfs", "/etc", "tmpfs", data="mode=755")
    for entry in _MACHINE_ETC.iterdir():
        if entry.name in files or entry.name == "carrick":
            continue
        # A relative link (../usr/lib/os-release) is only right in /etc itself.
        target = os.readlink(entry) if entry.is_symlink() else str(entry)  # noqa: PTH115
        Path("/etc", entry.name).symlink_to(target)
    for name, text in files.items():
        Path("/etc", name).write_text(text)


def main(directory: str) -> int:
    """Be the first process of the node with that directory."""
    # By way of the directory: a socket's path may not be longer than 107 bytes.
    os.chdir(directory)
    spec = json.loads(Path("boot.json").read_text())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    with socket.socket(socket.AF_UNIX) as starter:
        starter.connect(spec["socket"])
        try:
            _prepare(spec["etc"])
            socket.sethostname(spec["hostname"])
        except OSError as error:
            starter.sendall(str(error).encode())
            return 1
        os.chdir("/")
        starter.sendall(b"ready")
        if starter.recv(16) != b"go":
            return 1
    while True:
        signal.sigwait([signal.SIGCHLD])
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
