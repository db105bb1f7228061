"""A lab for tests: hosts on an underlay with faults, under a name and in directories of its own.

    with TempLab(hosts=3, segments=2) as lab:
        lab["host1"].do("carrick", "run", "--rm", "busybox", "true")
        lab.cut("host1", "host2")

It ends with the thread that has put it up: an interrupted test leaves files behind, and nothing that runs.
"""

import json
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ..lab.cluster import join_cluster
from ..lab.daemons import SOCKET
from ..lab.lab import Lab
from ..lab.nodes import base_environment, files_of, find_cgroups
from ..lab.plan import LabSpec, Node, Topology
from ..lab.processes import Process, command_on, in_network_of
from ..lab.record import Record
from ..lab.status import LabStatus, read_status
from .daemon import Api
from .machine import Result

T = TypeVar("T")


class LabHost:
    """A node of a lab: a host, an etcd, or the router. It may be switched off and on; this stays."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self._lab = lab
        self.node = node
        self.name = node.name

    @property
    def ipv4(self) -> str:
        return str(self.node.ipv4.ip)

    @property
    def ipv6(self) -> str:
        return str(self.node.ipv6.ip)

    @property
    def process(self) -> Process:
        """Its first process. Raises Unavailable when it is off."""
        return self._lab.process(self.name)

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs another one there."""
        return command_on(self.process.pid, arguments)

    def run(
        self,
        *arguments: str,
        input: str | None = None,
        timeout_s: float = 60.0,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a program there to its end, whatever that is; `carrick` and `docker` speak to its carrickd."""
        done = subprocess.run(
            self.command(*arguments),
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**base_environment(), "COLUMNS": "300", **(environment or {})},
        )
        return Result(arguments, done.returncode, done.stdout, done.stderr)

    def do(self, *arguments: str, input: str | None = None, timeout_s: float = 60.0) -> str:
        """Run a program that must succeed; return what it wrote, without the last newline."""
        result = self.run(*arguments, input=input, timeout_s=timeout_s)
        if result.code != 0:
            raise AssertionError(f"on {self.name}: {result}\n--- log:\n{self.log_text()[-3000:]}")
        return result.out.rstrip("\n")

    def carrick(self, *arguments: str) -> str:
        """Run `carrick`, which must succeed."""
        return self.do("carrick", *arguments)

    def sleeper(self, name: str, *options: str) -> str:
        """Run a container that does nothing and ends at once when it is stopped; return its id."""
        return self.carrick(
            "run", "-d", "--name", name, "--stop-signal", "KILL", *options, "busybox", "sleep", "1d"
        )

    def ping(self, target: str, *, count: int = 3, interval_s: float = 0.05) -> int:
        """Return how many answers come."""
        # Those that are lost cost a second in the end, and not each.
        options = ("-c", str(count), "-i", str(interval_s), "-W", "1")
        out = self.run("busybox", "ping", *options, target, timeout_s=60 + count).out
        lines = [line for line in out.splitlines() if "packets received" in line]
        return int(lines[0].split(",")[1].split()[0]) if lines else 0

    def reaches(self, target: str) -> bool:
        """Say whether one ping is answered."""
        return self.ping(target, count=1) == 1

    @property
    def api(self) -> Api:
        """Its Engine API. To be asked for anew once the host has been switched off and on."""
        return Api(self.path(SOCKET))

    def path(self, path: str | Path) -> Path:
        """Return how the tests see a path of the host."""
        return Path(f"/proc/{self.process.pid}/root{path}")

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in the host's network; a socket made there stays there."""
        return in_network_of(self.process.pid, function)

    def socket(self, family: int, kind: int) -> socket.socket:
        """Return a socket of the host's network."""
        return self.inside(lambda: socket.socket(family, kind))

    def container(self, name: str) -> Any:
        """Return what `GET /containers/NAME/json` says."""
        reply = self.api.get(f"/containers/{name}/json")
        assert reply.status == 200, reply
        return reply.json

    def remove_all(self) -> None:
        """Remove containers, and the networks that can be."""
        api = self.api
        for item in api.get("/containers/json?all=1").json:
            reply = api.delete(f"/containers/{item['Id']}?force=1&v=1")
            assert reply.status in (204, 404), reply
        api.post("/networks/prune")

    def log_text(self) -> str:
        """Return what carrickd, or etcd, has logged since the lab was put up."""
        return files_of(self._lab.record(), self.name).log.read_text(errors="replace")


class TempLab(Lab):
    """A lab that is up within a `with`. What it is to consist of are `LabSpec`'s words.

    With `cluster` its hosts are nodes of one; `gone_after_s` is how long one may be missed there.
    """

    def __init__(
        self,
        *,
        hosts: int = 2,
        segments: int = 1,
        etcd: int = 1,
        mtu: int = 1500,
        configuration: str = "",
        archives: Sequence[Path] = (),
        busybox: bool = True,
        cluster: bool = False,
        gone_after_s: int = 0,
    ) -> None:
        self.name = f"ck-{secrets.token_hex(3)}"
        self.place = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.place.chmod(0o711)
        self.spec = LabSpec(hosts=hosts, segments=segments, etcd=etcd, mtu=mtu, configuration=configuration)
        self._archives = archives
        self._busybox = busybox
        self._cluster = cluster
        self._gone_after_s = gone_after_s
        super().__init__(self.place / "lab")

    def __enter__(self) -> Self:
        try:
            self.up(
                self.spec,
                state_dir=self.place / "state",
                name=self.name,
                archives=self._archives,
                busybox=self._busybox,
                tied=True,
            )
            if self._cluster:
                self.join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def join(self) -> str:
        """Make the hosts one cluster, those that are in none; return its id."""
        return join_cluster(self, gone_after_s=self._gone_after_s)

    def close(self) -> None:
        """Take it down and remove every file. Repeatable."""
        try:
            self.down()
        finally:
            shutil.rmtree(self.place, ignore_errors=True)

    @property
    def plan(self) -> Topology:
        return self.topology(self.record())

    def __getitem__(self, name: str) -> LabHost:
        return LabHost(self, self.plan.node(name))

    @property
    def hosts(self) -> list[LabHost]:
        return [LabHost(self, node) for node in self.plan.hosts]

    @property
    def etcd(self) -> LabHost:
        """Its etcd, or the first of them."""
        return LabHost(self, self.plan.etcd[0])

    def status(self) -> LabStatus:
        return read_status(self.record())

    def remove_all(self) -> None:
        """Remove all containers and networks on all hosts, which must be on and answer."""
        with ThreadPoolExecutor(8, thread_name_prefix="lab") as pool:
            for _ in pool.map(lambda host: host.remove_all(), self.hosts):
                pass
        # What was in use from elsewhere until now.
        self.hosts[0].api.post("/networks/prune")

    def mend(self) -> None:
        """Take back every fault: cuts, loss, rates, hosts that are off, daemons that are gone."""
        self.heal()
        self.loss("0%")
        self.rate("off")
        self.start(*(node.name for node in self.plan.members))


# --- What is left of a lab --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trace:
    """What a lab consists of on the machine, to be looked for when it should be gone."""

    namespaces: frozenset[str]
    """As /proc/PID/ns has them: `net:[4026532177]`."""
    cgroup: str
    links: frozenset[str]
    directories: tuple[Path, ...]


def trace_of(record: Record, directory: Path) -> Trace:
    """Return the traces of a lab that is up: call it before what is to remove it."""
    topology = Lab.topology(record)
    pids = {process.pid for process in record.processes.values()}
    # And everybody below them, containers for example.
    parents = dict(_parents())
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in pids}
        grown = not more <= pids
        pids |= more
    own = _namespaces_of("self")
    found = {name for pid in pids for name in _namespaces_of(str(pid))} - own
    return Trace(
        namespaces=frozenset(found),
        cgroup=record.cgroup,
        links=frozenset({node.name for node in topology.members} | {item.link for item in topology.segments}),
        directories=(directory, record.state_dir),
    )


def find_leaks(trace: Trace) -> list[str]:
    """Return everything of the lab that is there: processes, namespaces, mounts, links, cgroups, files."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (shared := _namespaces_of(entry.name) & trace.namespaces):
            found.append(f"process {entry.name} is in {', '.join(sorted(shared))}")
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    for line in mounts:
        if any(str(path) in line for path in trace.directories) or any(
            name in line for name in trace.namespaces
        ):
            found.append(f"mount: {line}")
    listed = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout
    found += [f"link {item['ifname']}" for item in json.loads(listed) if item["ifname"] in trace.links]
    found += [f"cgroup {path}" for path in find_cgroups(trace.cgroup)]
    found += [f"directory {path}" for path in trace.directories if path.exists()]
    return found


def settle(trace: Trace, timeout_s: float = 10.0) -> list[str]:
    """Wait until nothing is left; return what is when the time is over."""
    end = time.monotonic() + timeout_s
    while (found := find_leaks(trace)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _namespaces_of(pid: str) -> set[str]:
    found = set()
    for kind in ("net", "pid", "mnt", "uts"):
        try:
            found.add(str(Path("/proc", pid, "ns", kind).readlink()))
        except OSError:
            continue  # it has ended, or is a zombie
    return found


def _parents() -> list[tuple[int, int]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found.append((int(entry.name), int(fields[1])))
    return found


__all__ = ["LabHost", "TempLab", "Trace", "find_leaks", "settle", "trace_of"]
