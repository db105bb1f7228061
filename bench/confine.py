"""Keep everything that a run starts in one place that the kernel clears away.

The run lives in mount and pid namespaces of its own. When its first process ends, for whatever reason
(done, Ctrl-C, kill -9), the kernel kills every engine, shim and container in it; with the last of them go
its network namespaces and its mounts. The workspace and the control groups the process outside removes.

`/run` and `/var/lib/cni` are empty in there: engines cannot meet those of the machine, nor leave files.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from .errors import BenchError

PREFIX = "carrick-bench-"
_CNI_STATE = Path("/var/lib/cni")
_WORKSPACES = Path("/var/tmp")
_LOCK, _MADE_CNI_STATE = "lock", "made-cni-state"


def run_confined(arguments: list[str], *, keep: bool) -> int:
    """Run `python -m bench` with these arguments again, inside; clean up after it; return its exit code."""
    _sweep()
    workspace = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_WORKSPACES))
    with (workspace / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        workspace.chmod(0o755)
        if not _CNI_STATE.exists():
            (workspace / _MADE_CNI_STATE).touch()
            _CNI_STATE.mkdir(parents=True)
        command = [
            "setpriv", "--pdeathsig", "KILL", "--",
            "unshare", "--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork",
            "--kill-child", "--", sys.executable, "-m", "bench", "--inside", str(workspace), *arguments,
        ]  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _be_stopped)
        child = subprocess.Popen(command)
        try:
            return child.wait()
        finally:
            child.kill()
            child.wait()
            _clean(workspace, keep=keep)


def become_init(work: Callable[[], int]) -> int:
    """As process 1 of the namespace: run `work` in a child, reap whatever is orphaned, return its code."""
    worker = os.fork()
    if worker == 0:
        # A handler and not SIG_IGN: what is started must not inherit that.
        signal.signal(signal.SIGINT, lambda number, frame: None)
        code = 1
        try:
            code = work()
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    # The terminal's Ctrl-C goes to the whole foreground group: the process outside ends this one by it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == worker:
            return os.waitstatus_to_exitcode(status) & 0xFF


def prepare_mounts(workspace: Path) -> None:
    """Hide the machine's `/run`, CNI state and resolvers from what will be started."""
    resolv_conf = workspace / "resolv.conf"
    # Nothing listens there, and nothing that is measured is forwarded; engines only want to see a line.
    resolv_conf.write_text("nameserver 198.18.0.1\n")
    _call("mount", "-t", "tmpfs", "-o", "mode=755", "carrick-bench", "/run")
    for name in ("netns", "lock"):
        Path("/run", name).mkdir()
    _call("mount", "-t", "tmpfs", "carrick-bench", str(_CNI_STATE))
    visible = Path("/etc/resolv.conf").resolve()
    if not visible.exists():
        visible.parent.mkdir(parents=True, exist_ok=True)
        visible.touch()
    _call("mount", "--bind", str(resolv_conf), str(visible))


def _clean(workspace: Path, *, keep: bool = False) -> None:
    """Remove what is left of a run that has ended."""
    _remove_cgroups(workspace.name)
    if (workspace / _MADE_CNI_STATE).exists():
        with suppress(OSError):
            _CNI_STATE.rmdir()
    if keep:
        print(f"logs are kept in {workspace}", file=sys.stderr)
        (workspace / _LOCK).unlink()
    else:
        shutil.rmtree(workspace, ignore_errors=True)


def _sweep() -> None:
    """Clean up after runs whose outer process was killed: nobody holds their lock any more."""
    for path in _WORKSPACES.glob(f"{PREFIX}*/{_LOCK}"):
        with suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clean(path.parent)


def _be_stopped(number: int, frame: FrameType | None) -> None:
    """End by way of the `finally`: what is inside needs no grace, for nothing of it is kept."""
    raise SystemExit(128 + number)


def _remove_cgroups(name: str) -> None:
    """Remove the groups named `name` in every hierarchy; they empty a moment after their processes died."""
    tops = [
        path / name for path in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()) if path.is_dir()
    ]
    for _ in range(50):
        for top in tops:
            for directory, _children, _files in os.walk(top, topdown=False):
                with suppress(OSError):
                    Path(directory).rmdir()
        if not any(top.exists() for top in tops):
            return
        time.sleep(0.1)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
