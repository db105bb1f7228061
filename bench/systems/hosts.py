"""Carrick on two hosts of a lab, one cluster: networks across them, and containers on both."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carrick.model.errors import CarrickError
from carrick.testing.lab import LabHost, TempLab

from ..errors import BenchError
from ..namespaces import Namespace
from .hand_made import Way

_PATIENCE_S = 30.0


class NotThere(BenchError):
    """What is asked for is no part of this build or machine. Not a failure of it."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two nodes of one cluster."""

    lab: TempLab
    one: LabHost
    two: LabHost

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """The hosts' own, not their containers'."""
        return tuple(Namespace.of_process(host.process.pid) for host in (self.one, self.two))

    @property
    def segment(self) -> tuple[Namespace, str]:
        """Where the bridge is that both are ports of, and its name."""
        (segment,) = self.lab.topology(self.lab.record()).segments
        router = self.lab.topology(self.lab.record()).router
        return Namespace.of_process(self.lab.process(router.name).pid), segment.link

    def build_way(self, name: str, driver: str, options: Mapping[str, str]) -> Way:
        """Make a network and a container on each host; return the way between those.

        Raises NotThere if the driver or the transport is not there.
        """
        words = [word for key, value in options.items() for word in ("--opt", f"{key}={value}")]
        made = self.one.run("carrick", "network", "create", "-d", driver, *words, name)
        if made.code:
            raise NotThere(f"network create -d {driver} {' '.join(words)}: {made.err.strip()}")
        self._await_network(name)
        for host, container in ((self.one, f"{name}-client"), (self.two, f"{name}-server")):
            _do(host, "run", "-d", "--name", container, "--network", name, "busybox", "sleep", "1d")
        server = self.two.container(f"{name}-server")
        address = str(server["NetworkSettings"]["Networks"][name]["IPAddress"])
        client, far = namespace_of(self.one, f"{name}-client"), namespace_of(self.two, f"{name}-server")
        way = Way(client, far, address, self.namespaces)
        self._await_answer(f"{name}-client", address)
        return way

    def _await_network(self, name: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while self.two.run("carrick", "network", "inspect", name).code:
            if time.monotonic() > end:
                raise BenchError(f"network {name} does not appear on the second host")
            time.sleep(0.1)

    def _await_answer(self, client: str, address: str) -> None:
        end = time.monotonic() + _PATIENCE_S
        while self.one.run("carrick", "exec", client, "ping", "-c", "1", "-W", "1", address).code:
            if time.monotonic() > end:
                raise BenchError(f"{address} does not answer {client}: {self.one.log_text()[-500:]}")


def namespace_of(host: LabHost, container: str) -> Namespace:
    """Return a container's network namespace, by way of its host's own /proc."""
    pid = host.container(container)["State"]["Pid"]
    return Namespace(Path(f"/proc/{host.process.pid}/root/proc/{pid}/ns/net"))


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Have two hosts on one segment, joined to a cluster. Raises BenchError."""
    try:
        with TempLab(hosts=2, cluster=True) as lab:
            one, two = lab.hosts
            yield Hosts(lab, one, two)
    except (CarrickError, AssertionError) as error:
        raise BenchError(f"the lab: {error}") from error


def _do(host: LabHost, *words: str) -> str:
    done = host.run("carrick", *words)
    if done.code:
        raise BenchError(f"on {host.name}: carrick {' '.join(words)}: {done.err.strip()}")
    return done.out.strip()
