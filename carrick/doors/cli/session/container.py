"""A session with a container's main process or with an exec: attach, signals, size, detaching."""

from __future__ import annotations

import signal
from contextlib import ExitStack, suppress

from carrick.doors.cli.app import App, is_terminal
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.session.detach import DetachFilter, parse_keys
from carrick.doors.cli.session.streams import Ends, carry
from carrick.doors.cli.session.terminal import RawMode, SignalInbox, window_size
from carrick.doors.client import Client, Hijacked, Response
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What a terminal or a supervisor sends on purpose. SIGTSTP is left to stop the client itself.
_FORWARDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCONT,
)


def require_terminal(app: App, *, stdin: bool, tty: bool) -> None:
    """Refuse a terminal for the container where there is none for us, as Docker does."""
    if stdin and tty and not is_terminal(app.stdin):
        raise CliError("the input device is not a TTY")


def detach_filter(keys: str) -> DetachFilter:
    """Return the filter for `--detach-keys`. Raises CliError."""
    try:
        return DetachFilter(parse_keys(keys))
    except ValueError as error:
        raise CliError(str(error)) from None


class Session:
    """One attachment. `target` is the API path below which `resize` (and `kill`) are."""

    def __init__(self, app: App, target: str, *, tty: bool, detach_keys: str) -> None:
        self._app = app
        self._target = target
        self._tty = tty
        self._detach = detach_filter(detach_keys) if tty else None

    def resize(self, *, jolt: bool = False) -> None:
        """Tell the daemon the window's size. `jolt`: make the program redraw, by way of another."""
        size = window_size(self._app.out.fileno()) if is_terminal(self._app.out) else None
        if size is None:
            return
        rows, columns = size
        # The process may be gone, or not there yet: a size is not worth an error.
        with suppress(CarrickError):
            if jolt:
                self._post_size(rows + 1, columns + 1)
            self._post_size(rows, columns)

    def _post_size(self, rows: int, columns: int) -> None:
        self._app.client.post(f"{self._target}/resize", query={"h": rows, "w": columns})

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGWINCH:
            self.resize()
            return
        with suppress(CarrickError):
            name = number.name.removeprefix("SIG")
            self._app.client.post(f"{self._target}/kill", query={"signal": name})

    def run(
        self,
        stream: Hijacked,
        *,
        stdin: bool,
        out: bool,
        err: bool,
        sig_proxy: bool,
        ready: Callable[[], None] | None = None,
    ) -> bool:
        """Carry the streams until they end; False if the user detached.

        `ready` is called once signals are looked after: it starts the container.
        """
        app = self._app
        numbers = [*_FORWARDED] if sig_proxy else []
        if self._tty:
            numbers.append(signal.SIGWINCH)
        with ExitStack() as stack:
            stack.callback(stream.close)
            inbox = stack.enter_context(SignalInbox(numbers))
            if ready is not None:
                ready()
            if self._tty and stdin and is_terminal(app.stdin):
                stack.enter_context(RawMode(app.stdin.fileno()))
            ends = Ends(
                stdin=app.stdin.fileno() if stdin else None,
                out=app.raw_out() if out else None,
                err=app.raw_err() if err else None,
                raw=self._tty,
            )
            return carry(stream, ends, inbox=inbox, on_signal=self._on_signal, detach=self._detach)


def attach(
    client: Client, name: str, *, stdin: bool, out: bool, err: bool, keys: str, logs: bool = False
) -> Hijacked:
    """Take over a connection that is attached to a container's streams."""
    query = {
        "stream": True,
        "stdin": stdin,
        "stdout": out,
        "stderr": err,
        "logs": logs,
        "detachKeys": keys or None,
    }
    return client.hijack(f"{container_path(name)}/attach", query=query)


def await_exit(client: Client, name: str, *, removed: bool) -> Response:
    """Ask for the next exit (or the removal after it); its head being here, nothing is missed."""
    condition = "removed" if removed else "next-exit"
    return client.request("POST", f"{container_path(name)}/wait", query={"condition": condition})


def exit_status(answer: Response) -> int:
    """Return a container's exit code, once it has one. Raises CliError as `run` reports it."""
    with answer:
        result = answer.json() or {}
    error = result.get("Error") or {}
    if message := error.get("Message"):
        raise CliError(f"Error waiting for container: {message}", 125)
    return int(result.get("StatusCode", 0))
