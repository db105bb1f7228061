"""Run programs: to their end, or in the background; in a network namespace, with a clean environment."""

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import BenchError
from .namespaces import Namespace

CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clean_environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which no setting of the caller speaks."""
    return {"PATH": CLEAN_PATH, "HOME": str(home), "LANG": "C.UTF-8", **(extra or {})}


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    namespace: Namespace | None = None,
    text: str = "",
    timeout_s: float = 120,
) -> str:
    """Run to the end and return what was printed. Raises BenchError with its complaint.

    The output goes through files: a container's monitor that inherits a pipe would keep it open for ever.
    """
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as printed,
        tempfile.TemporaryFile("w+") as complaint,
    ):
        given.write(text)
        given.seek(0)
        with _in(namespace):
            process = subprocess.Popen(
                command, env=environment, stdin=given, stdout=printed, stderr=complaint
            )
        try:
            code = _wait(process, timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        printed.seek(0)
        complaint.seek(0)
        output = printed.read()
        if code == 0:
            return output
        problem = f"no end after {timeout_s:.0f} s" if code is None else f"exit code {code}"
        detail = (complaint.read() or output).strip()[-600:]
        raise BenchError(f"{Path(command[0]).name} {' '.join(command[1:])[-200:]}: {problem}: {detail}")


class Background:
    """A program that runs until it is stopped; its output goes to `log`."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        namespace: Namespace | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output, _in(namespace):
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it at once (SIGKILL) and collect it; harmless if it has ended."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = 20) -> None:
        """Ask it to end (SIGTERM), then insist."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def check(self) -> None:
        """Raise BenchError with the end of its log if it has ended."""
        if (code := self._process.poll()) is not None:
            raise BenchError(f"{self.log.stem} ended with code {code}: {self.tail()}")

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-800:].strip()


@contextmanager
def background(*starts: Callable[[], Background]) -> Iterator[None]:
    """Start several programs and kill them at the end."""
    running: list[Background] = []
    try:
        for start in starts:
            running.append(start())
        yield
    finally:
        for program in running:
            program.kill()


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Wait for the end without delay: `Popen.wait` with a timeout looks only every 50 ms."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return process.wait() if poll.poll(timeout_s * 1000) else None
    finally:
        os.close(descriptor)


@contextmanager
def _in(namespace: Namespace | None) -> Iterator[None]:
    """Fork from inside `namespace`, so that no `nsenter` adds its own exec to what is measured."""
    if namespace is None:
        yield
        return
    with namespace.entered():
        yield


def is_root() -> bool:
    """Tell whether this process may make namespaces."""
    return os.geteuid() == 0
