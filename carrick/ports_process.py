"""`carrick-ports`: the process that holds the published ports of one daemon.

A composition root beside `daemon.py`. It survives the daemon, so a port stays bound while that restarts,
and takes up what it held when it is itself started again. Imports stay few: it is to fit into 20 MiB.
"""

import argparse
import logging
import signal
import sys
from pathlib import Path

from .host.lock import is_locked_by, take_lock
from .host.portholder.descriptors import Descriptors, raise_limit
from .host.portholder.holdings import Holdings
from .host.portholder.protocol import (
    Done,
    Hold,
    Refused,
    Release,
    Sync,
    encode,
    number_of,
    parse_request,
    render_error,
)
from .host.portholder.state import StateFile
from .host.portholder.udp_relay import SWEEP_EVERY_S
from .host.resolver.control_server import ControlServer, Session
from .host.resolver.reactor import Reactor
from .model.errors import CarrickError, Conflict

SOCKET_NAME = "carrick-ports.sock"
LOCK_NAME = "carrick-ports.lock"
STATE_NAME = "carrick-ports.json"
RETRY_EVERY_S = 5.0
CHECK_LOCK_EVERY_S = 2.0

_LOG = logging.getLogger("carrick-ports")


def handle(holdings: Holdings, line: bytes) -> bytes:
    """Carry out one request of the daemon; return the reply. Never raises."""
    number = 0
    try:
        request = parse_request(line)
        number = request.number
        match request:
            case Hold():
                holdings.hold(request.owner, request.ports)
            case Release():
                holdings.release(request.owner, request.ports)
            case Sync():
                return encode(Done(number, holdings.sync(request.everything)))
        return encode(Done(number))
    except CarrickError as error:
        return encode(render_error(number or number_of(line), error))
    except Exception as error:  # one bad request must not let go of all ports
        _LOG.exception("a request failed")
        return encode(Refused(number, "Failed", f"carrick-ports: internal error: {error!r}"))


def serve(run_dir: Path, state_dir: Path) -> None:
    """Hold ports until SIGTERM or SIGINT, or until the run directory is removed.

    Raises Conflict if another process has the run directory.
    """
    for directory in (run_dir, state_dir):
        directory.mkdir(parents=True, exist_ok=True)
    lock = run_dir / LOCK_NAME
    lock_descriptor = take_lock(lock, "carrick-ports")
    reactor = Reactor()
    reactor.stop_on_signals(signal.SIGTERM, signal.SIGINT)

    def save_soon() -> None:
        state.save_soon()

    holdings = Holdings(reactor, Descriptors(raise_limit()), changed=save_soon)
    state = StateFile(state_dir / STATE_NAME, reactor, holdings.wanted)
    try:
        problems = holdings.sync(state.read())
    except CarrickError as error:
        _LOG.warning("waiting for the daemon to say what to hold: %s", error.message)
    else:
        for owner, text in problems.items():
            _LOG.warning("not held for %s: %s", owner, text)

    def new_session() -> Session:
        return lambda line: handle(holdings, line)

    def check_lock() -> None:
        # Else nobody could reach this process any more, and it would hold its ports for ever.
        if not is_locked_by(lock, lock_descriptor):
            _LOG.error("ending, because %s has been removed", lock)
            reactor.stop()

    server = ControlServer(run_dir / SOCKET_NAME, reactor, new_session)
    reactor.call_every(SWEEP_EVERY_S, holdings.sweep)
    reactor.call_every(RETRY_EVERY_S, holdings.retry)
    reactor.call_every(CHECK_LOCK_EVERY_S, check_lock)
    _LOG.info("ready: %d ports", holdings.count)
    try:
        reactor.run()
    finally:
        if is_locked_by(lock, lock_descriptor):  # else file and socket are a successor's
            state.save()
            server.close()
        holdings.close()
        reactor.close()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `carrick-ports`; returns the exit code (4 if another instance runs)."""
    parser = argparse.ArgumentParser(
        prog="carrick-ports", description="Hold the published ports of one carrickd."
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="for its socket and lock")
    parser.add_argument("--state-dir", type=Path, required=True, help="for the list of what it holds")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=options.log_level.upper(), format="%(name)s: %(levelname)s: %(message)s")
    try:
        serve(options.run_dir, options.state_dir)
    except Conflict as error:
        print(f"carrick-ports: {error.message}", file=sys.stderr)
        return 4
    except (CarrickError, OSError) as error:
        print(f"carrick-ports: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
