"""Network namespaces for tests: no names on the machine, nothing to clean up after a crash.

A `Namespace` is held by an open file of this process and by nothing else, so that it goes with the process
however that ends, and two test runs cannot meet. Its `path` (`/proc/PID/fd/N`) serves wherever a path to a
namespace does: `nsenter --net=PATH`, a `CreateVeth` step, another process that root runs.

`Namespace.call` runs a function inside; sockets made there stay in the namespace wherever they are used
afterwards. `Inhabitant` is a thread that lives inside with an event loop, for a daemon's parts: what is made
in it (a `LinuxKernel`, its worker threads, subprocesses) belongs to the namespace. Needs root.
"""

import asyncio
import ctypes
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_TIMEOUT_S = 60


def random_name() -> str:
    """Return `ck-t-` and four random digits: fits an interface's name, a table's, a directory's."""
    return f"ck-t-{secrets.token_hex(2)}"


class Namespace:
    """A network namespace with `lo` up; `close` lets go of it."""

    def __init__(self, *, loopback: bool = True) -> None:
        self.name = random_name()
        self._fd = -1
        libc = ctypes.CDLL(None, use_errno=True)
        self._libc = libc

        def make() -> None:
            if libc.unshare(_CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "creating a network namespace (this needs root)")
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        _in_thread(make)
        if loopback:
            self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def enter(self) -> None:
        """Move the calling thread inside, for good."""
        if self._libc.setns(self._fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"entering {self.name}")

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns in a thread inside."""

        def visit() -> T:
            self.enter()
            return function(*arguments)

        return _in_thread(visit)

    def run(self, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """Run a command inside and return its output; AssertionError with its words if it fails."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", "--", *command],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
        return done.stdout

    def ip(self, line: str) -> str:
        """Run `ip` with the words of `line`."""
        return self.run("ip", *line.split())

    def sysctl(self, key: str, value: str) -> None:
        self.run("sysctl", "-qw", f"{key}={value}")


class Inhabitant:
    """A thread inside a namespace, with an event loop."""

    def __init__(self, namespace: Namespace) -> None:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()

        def live() -> None:
            namespace.enter()
            asyncio.set_event_loop(self._loop)
            self._loop.call_soon(ready.set)
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

        self._thread = threading.Thread(target=live, name=namespace.name, daemon=True)
        self._thread.start()
        ready.wait(_TIMEOUT_S)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine inside and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT_S)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in the event loop's thread and return its result."""

        async def visit() -> T:
            return function(*arguments)

        return self.run(visit())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)


class Namespaces:
    """Makes namespaces and wires them; everything ends with `close`."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def new(self, *, loopback: bool = True) -> Namespace:
        made = Namespace(loopback=loopback)
        self._stack.callback(made.close)
        return made

    def inhabit(self, namespace: Namespace) -> Inhabitant:
        made = Inhabitant(namespace)
        self._stack.callback(made.close)
        return made

    def wire(self, one: Namespace, name: str, other: Namespace, other_name: str) -> None:
        """Join two namespaces with a veth pair, both ends up."""
        one.ip(f"link add {name} type veth peer name {other_name} netns {other.path}")
        one.ip(f"link set {name} up")
        other.ip(f"link set {other_name} up")

    def defer(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have `function` called before the namespaces go, the last one first."""
        self._stack.callback(function, *arguments)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    """Namespaces for one test; they go with the block, after a failure as well."""
    made = Namespaces()
    try:
        yield made
    finally:
        made.close()


def _in_thread(function: Callable[[], T]) -> T:
    """Run `function` in a thread of its own and return its result, or raise what it raised."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
