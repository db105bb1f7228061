"""`carrick-dns`: the process that answers names in every sandbox of one daemon.

The composition root: joins the decisions of `carrick.domains.dns` with the sockets of
`carrick.host.resolver`, and neither knows the other. Survives the daemon, and answers from its state
file when it is itself started without one. Imports stay few: it is to fit into 25 MiB.
"""

import argparse
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .domains.dns.core import Nameserver
from .domains.dns.forward import Ask, Close, Deliver, Step, Warn
from .domains.dns.framing import StreamBuffer
from .domains.dns.protocol import (
    Codec,
    Done,
    Lookup,
    PutSandbox,
    Refused,
    RemoveSandbox,
    Reply,
    Request,
    Snapshot,
    Stats,
    Update,
)
from .domains.dns.resolvconf import parse_nameservers
from .domains.dns.zone import ServerSide
from .host.lock import is_locked_by, take_lock
from .host.resolver._netns import Namespaces
from .host.resolver._redirect import Redirector
from .host.resolver.contract import Client
from .host.resolver.control_server import ControlServer, Session
from .host.resolver.files import StateFile, WatchedFile
from .host.resolver.reactor import Reactor
from .host.resolver.sandboxes import Sandboxes
from .host.resolver.upstream import Upstream
from .model.errors import CarrickError, Conflict

SOCKET_NAME = "carrick-dns.sock"
LOCK_NAME = "carrick-dns.lock"
STATE_NAME = "carrick-dns.json"
CHECK_EVERY_S = 2.0
RESOLV_CONF_EVERY_S = 1.0

_LOG = logging.getLogger("carrick-dns")


class Resolver:
    """The `Names` of the socket loop: asks the name server, carries out its steps."""

    def __init__(self, core: Nameserver[Client], reactor: Reactor) -> None:
        self._core = core
        self._reactor = reactor
        self._upstream: Upstream | None = None
        self._due: float | None = None

    def connect(self, upstream: Upstream) -> None:
        """Give it the way out, which needs this object to be made first."""
        self._upstream = upstream

    def answers(self, sandbox_id: str) -> dict[bytes, Iterator[bytes]]:
        """See `Names`."""
        return self._core.answers(sandbox_id)

    def new_stream(self) -> StreamBuffer:
        """See `Names`."""
        return StreamBuffer()

    def count_repeated(self, count: int) -> None:
        """See `Names`."""
        self._core.counters.queries += count
        self._core.counters.hits += count

    def on_query(self, sandbox_id: str, wire: bytes, client: Client, *, tcp: bool) -> None:
        """See `Names`."""
        now = self._reactor.now()
        self.run(self._core.on_query(sandbox_id, wire, client, tcp=tcp, now=now))

    def on_upstream_reply(self, flight: int, attempt: int, reply: bytes) -> None:
        """See `Names`."""
        self.run(self._core.on_upstream_reply(flight, attempt, reply, self._reactor.now()))

    def on_upstream_error(self, flight: int, attempt: int) -> None:
        """See `Names`."""
        self.run(self._core.on_upstream_error(flight, attempt, self._reactor.now()))

    def run(self, steps: Iterable[Step[Client]]) -> None:
        """Carry out what the name server decided."""
        assert self._upstream is not None
        for step in steps:
            match step:
                case Deliver():
                    step.client.reply(step.reply)
                case Ask():
                    self._ask(step)
                case Close():
                    self._upstream.close(step.flight)
                case Warn():
                    _LOG.warning("%s", step.text)

    def _ask(self, step: Ask) -> None:
        assert self._upstream is not None
        path = None
        if step.server.side is ServerSide.CONTAINER:
            path = self._core.table.sandbox(step.sandbox_id).view.netns_path
        self._upstream.ask(
            step.flight,
            step.attempt,
            netns_path=path,
            address=step.server.address,
            port=(step.tcp and step.server.tcp_port) or step.server.port,
            tcp=step.tcp,
            payload=step.payload,
        )
        self._schedule()

    def _schedule(self) -> None:
        due = self._core.next_deadline()
        if due is not None and (self._due is None or due < self._due):
            self._due = due
            self._reactor.call_at(due, self._expire)

    def _expire(self) -> None:
        self._due = None
        self.run(self._core.expire(self._reactor.now()))
        self._schedule()


class Control:
    """Carries out the daemon's requests."""

    def __init__(
        self,
        core: Nameserver[Client],
        resolver: Resolver,
        sandboxes: Sandboxes,
        save_soon: Callable[[], None],
    ) -> None:
        self._core = core
        self._resolver = resolver
        self._sandboxes = sandboxes
        self._save_soon = save_soon
        self._codec = Codec()

    def new_session(self) -> Session:
        """Return the handler for one connection, which has to send a snapshot before updates."""
        has_synced = False

        def handle(line: bytes) -> bytes:
            nonlocal has_synced
            revision = 0
            try:
                request = self._codec.decode_request(line)
                revision = getattr(request, "revision", 0)
                if isinstance(request, Update) and not has_synced:
                    raise Conflict("this connection has not sent a snapshot yet; send one first")
                reply = self._handle(request)
                has_synced |= isinstance(request, Snapshot)
            except CarrickError as error:
                reply = Refused(error.message, revision)
            except Exception as error:  # one bad request must not end the resolver
                _LOG.exception("a request failed")
                reply = Refused(f"internal error: {error!r}", revision)
            return self._codec.encode(reply)

        return handle

    def restore(self, data: bytes) -> None:
        """Take up what an earlier process kept. Raises InvalidRequest if it is not whole."""
        request = self._codec.decode_request(data)
        if isinstance(request, Snapshot):
            self._handle(request)

    def render_state(self) -> bytes:
        """Return what `restore` takes."""
        return self._codec.encode(self._core.snapshot())

    def _handle(self, request: Request) -> Reply:
        match request:
            case Snapshot():
                self._resolver.run(self._core.load(request))
                problems = self._settle({view.sandbox_id for view in request.sandboxes})
                return Done(request.revision, problems)
            case Update():
                return self._update(request)
            case Lookup():
                return self._core.lookup(request)
            case Stats():
                return self._core.report(dict(self._sandboxes.problems))

    def _update(self, update: Update) -> Reply:
        if update.revision <= self._core.revision:
            raise Conflict(
                f"revision {update.revision} is stale: {self._core.revision} is in force; send a snapshot"
            )
        views = self._core.views()
        leaving = [
            views[change.sandbox_id].netns_path
            for change in update.changes
            if isinstance(change, RemoveSandbox) and change.namespace_stays and change.sandbox_id in views
        ]
        self._resolver.run(self._core.apply(update.revision, update.changes))
        put = {c.view.sandbox_id for c in update.changes if isinstance(c, PutSandbox)}
        removed = any(isinstance(change, RemoveSandbox) for change in update.changes)
        problems = self._settle(put) if put or removed else {}
        if not put and not removed:
            self._save_soon()
        for path in leaving:
            self._sandboxes.remove_redirect(path)
        return Done(update.revision, problems)

    def _settle(self, suspects: set[str]) -> dict[str, str]:
        self._save_soon()
        wanted = {key: view.netns_path for key, view in self._core.views().items()}
        problems = self._sandboxes.reconcile(wanted, suspects)
        self._core.set_host_is_sandbox(self._sandboxes.serves_home)
        return problems


def serve(run_dir: Path, state_dir: Path, resolv_conf: Path) -> None:
    """Answer until SIGTERM or SIGINT, or until the run directory is removed.

    Raises Conflict if another process has the run directory.
    """
    for directory in (run_dir, state_dir):
        directory.mkdir(parents=True, exist_ok=True)
    lock = run_dir / LOCK_NAME
    lock_descriptor = take_lock(lock, "carrick-dns")
    _raise_descriptor_limit()
    reactor = Reactor()
    reactor.stop_on_signals(signal.SIGTERM, signal.SIGINT)
    namespaces = Namespaces()
    core: Nameserver[Client] = Nameserver(os.urandom)
    resolver = Resolver(core, reactor)
    upstream = Upstream(resolver, reactor, namespaces)
    resolver.connect(upstream)
    sandboxes = Sandboxes(resolver, reactor, namespaces, Redirector())

    def render_state() -> bytes:
        return control.render_state()

    state = StateFile(state_dir / STATE_NAME, reactor, render_state)
    control = Control(core, resolver, sandboxes, state.save_soon)

    watched = WatchedFile(resolv_conf, lambda text: core.use_host_servers(parse_nameservers(text)))
    watched.check()
    try:
        if (kept := state.read()) is not None:
            control.restore(kept)
    except CarrickError as error:
        _LOG.warning("the kept names are of no use, waiting for the daemon: %s", error.message)

    def check_lock() -> None:
        # Else no daemon could reach this process any more, and it would answer old names for ever.
        if not is_locked_by(lock, lock_descriptor):
            _LOG.error("ending, because %s has been removed", lock)
            reactor.stop()

    server = ControlServer(run_dir / SOCKET_NAME, reactor, control.new_session)
    reactor.call_every(CHECK_EVERY_S, check_lock)
    reactor.call_every(CHECK_EVERY_S, sandboxes.check)
    reactor.call_every(RESOLV_CONF_EVERY_S, watched.check)
    _LOG.info("ready: %d sandboxes", len(core.table.sandboxes))
    try:
        reactor.run()
    finally:
        if is_locked_by(lock, lock_descriptor):  # else file and socket are a successor's
            state.save_due()
            server.close()
        sandboxes.close()
        upstream.close_all()
        namespaces.close()
        reactor.close()


def _raise_descriptor_limit() -> None:
    """Two sockets per sandbox and one per forward do not fit into the usual 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `carrick-dns`; returns the exit code (4 if another instance runs)."""
    parser = argparse.ArgumentParser(
        prog="carrick-dns", description="Answer names in the sandboxes of one carrickd."
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="for its socket and lock")
    parser.add_argument("--state-dir", type=Path, required=True, help="for the last known names")
    parser.add_argument(
        "--resolv-conf",
        type=Path,
        default=Path("/etc/resolv.conf"),
        help="where the host's name servers stand (default: %(default)s)",
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=options.log_level.upper(), format="%(name)s: %(levelname)s: %(message)s")
    try:
        serve(options.run_dir, options.state_dir, options.resolv_conf)
    except Conflict as error:
        print(f"carrick-dns: {error.message}", file=sys.stderr)
        return 4
    except CarrickError as error:
        print(f"carrick-dns: {error.message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
