"""CNI: ADD and DEL of Carrick's plugin beside the chain of reference plugins, as endpoints grow.

Both have a host of their own. Endpoints that are there already publish a port each, and were made by the
same plugin. One container namespace per network serves all repetitions: DEL leaves it as it was, and the
kernel has none to clear away while the next one is timed.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..metrics import CNI_CASES, CNI_PEER, cni_key
from ..namespaces import Host, Namespace
from ..programs import Background
from ..recorder import interleaved
from ..systems.carrick import Carrick
from ..systems.cni import INTERFACE, Attachment, CniNetwork, installed_by_carrick, reference_chain
from ..verdicts import OURS
from .context import Context

_SUBNETS = {OURS: "10.203.0.0/16", CNI_PEER: "10.204.0.0/16"}
#: The engines' hosts are numbered from 1.
_HOSTS = {OURS: 101, CNI_PEER: 102}
_LISTENING, _THERE_FROM, _ONE_MORE = 7301, 30000, 29000
_PATIENCE_S, _PAUSE_S = 5.0, 0.1
#: Not that of the engine under test in the other measures.
_RUN_DIR = Path("/run/carrick-bench-cni")


@dataclass(slots=True)
class _Subject:
    """A CNI network under test, the namespace that comes and goes, and how many endpoints stay."""

    name: str
    host: Host
    network: CniNetwork
    namespace: Namespace
    there: int = 0


def measure_cni(context: Context) -> None:
    """Fill both step by step; at each step, time one more endpoint, with a port and without."""
    options, recorder = context.options, context.recorder
    with ExitStack() as stack:
        subjects = _subjects(context, stack)
        for number in range(options.repetitions + 1):
            for subject in interleaved(subjects, number):
                with (
                    recorder.attempt(subject.name, "cni, floor", "cni.version"),
                    recorder.timed("cni.version", subject.name, keep=number > 0),
                ):
                    subject.network.floor()
        for there in options.growth:
            for subject in subjects:
                recorder.note(f"cni: {subject.name} to {there} endpoints")
                with recorder.attempt(subject.name, "cni", "cni."):
                    _fill(subject, there)
            _repeat(context, subjects, there)


def _subjects(context: Context, stack: ExitStack) -> Sequence[_Subject]:
    """Return those that could be set up."""
    found: list[_Subject] = []
    for name, subnet in _SUBNETS.items():
        with context.recorder.attempt(name, "cni", "cni."):
            home = context.logs / f"cni-{name}"
            home.mkdir()
            host = context.lab.add_host(f"cni-{name}", _HOSTS[name])
            if name == OURS:
                carrick = Carrick(host, home, _RUN_DIR)
                stack.callback(carrick.stop)
                carrick.start()
                network = installed_by_carrick(carrick, home, subnet)
            else:
                network = reference_chain(host.namespace, home, subnet)
            found.append(_Subject(name, host, network, Namespace.create(f"{name}-onemore")))
    return found


def _fill(subject: _Subject, count: int) -> None:
    for number in range(subject.there, count):
        namespace = Namespace.create(f"{subject.name}-there{number}")
        subject.network.add(Attachment(f"{subject.name}there{number}", namespace, _THERE_FROM + number))
        subject.there += 1


def _repeat(context: Context, subjects: Sequence[_Subject], there: int) -> None:
    recorder, repetitions = context.recorder, context.options.growth_repetitions
    ways = [(subject, case) for case in CNI_CASES for subject in subjects]
    for number in range(repetitions + 1):
        if number % 5 == 0:
            recorder.note(f"cni with {there} there: repetition {number} of {repetitions}")
        for subject, case in interleaved(ways, number):
            if recorder.has_failed(subject.name, "cni"):
                continue
            with recorder.attempt(subject.name, "cni", "cni."):
                # A name and a port of its own for each: nothing may be found to be there already.
                one = Attachment(
                    f"{subject.name}{case}{there}x{number}", subject.namespace,
                    _ONE_MORE + number if case == "port" else 0, _LISTENING,
                )  # fmt: skip
                with recorder.timed(cni_key("add", case, there), subject.name, keep=number > 0):
                    result = subject.network.add(one)
                if number == 0:
                    _check_added(context, subject, one, result)
                with recorder.timed(cni_key("del", case, there), subject.name, keep=number > 0):
                    subject.network.delete(one, result)
                if number == 0:
                    _check_deleted(context, subject, one)


def _check_added(context: Context, subject: _Subject, one: Attachment, result: dict[str, Any]) -> None:
    """Raise BenchError unless the address of the result is there, and the port leads to a listener."""
    address = str(result["ips"][0]["address"])
    found = subject.namespace.ip("-o", "-4", "address", "show", "dev", INTERFACE, "up")
    if f" {address} " not in found:
        raise BenchError(f"after ADD {INTERFACE} has not {address} but {found.strip() or 'no address'}")
    if not one.port:
        return
    log = context.logs / f"cni-{subject.name}-listener.log"
    command = (str(context.tcploop), "server", str(_LISTENING))
    listener = Background(command, log, namespace=one.namespace)
    try:
        if not _answers(context, subject.host.address, one.port, patient=True):
            raise BenchError(f"after ADD port {one.port} of the host does not lead to the container")
    finally:
        listener.kill()


def _check_deleted(context: Context, subject: _Subject, one: Attachment) -> None:
    links = subject.namespace.ip("-o", "link", "show")
    if f" {INTERFACE}@" in links:
        raise BenchError(f"after DEL {INTERFACE} is there still")
    if one.port and _answers(context, subject.host.address, one.port, patient=False):
        raise BenchError(f"after DEL port {one.port} of the host is open still")


def _answers(context: Context, address: str, port: int, *, patient: bool) -> bool:
    """Tell whether what is sent there comes back; if `patient`, its listener may still be starting."""
    with context.outside.entered():
        for _ in range(50 if patient else 1):
            with suppress(OSError), socket.create_connection((address, port), _PATIENCE_S) as link:
                link.sendall(b"x" * 64)
                return bool(link.recv(64))
            time.sleep(_PAUSE_S)
    return False
