"""Containers on the hosts of a lab as tests look at them, and traffic between them that is counted.

Nothing here goes through `carrickd` once a box is made: it may be killed, and the counting goes on.
"""

import json
import os
import re
import secrets
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ..lab.processes import in_network_of
from .daemon import eventually
from .lab import LabHost, TempLab
from .machine import Result
from .watching import query

T = TypeVar("T")
_ECHO4, _REPLY4, _ECHO6, _REPLY6 = 8, 0, 128, 129
_LATE_S = 2.0


class Box:
    """A running container: its addresses, and its network from inside."""

    def __init__(self, host: LabHost, name: str) -> None:
        self.host = host
        self.name = name
        self.refresh()

    def refresh(self) -> Self:
        """Look again, after a restart."""
        shown = self.host.container(self.name)
        self.id: str = shown["Id"]
        self.networks: dict[str, Any] = shown["NetworkSettings"]["Networks"]
        self.pid = _find_first(self.host.path(f"/proc/{shown['State']['Pid']}/ns/pid").stat().st_ino)
        return self

    def ip(self, network: str = "") -> str:
        """Its IPv4 address on a network, or on its only one."""
        return str(self._on(network)["IPAddress"])

    def ip6(self, network: str = "") -> str:
        return str(self._on(network)["GlobalIPv6Address"])

    def mac(self, network: str = "") -> str:
        return str(self._on(network)["MacAddress"])

    def _on(self, network: str) -> dict[str, Any]:
        if network:
            return self.networks[network]  # type: ignore[no-any-return]
        if not self.networks:
            return {"IPAddress": "", "GlobalIPv6Address": "", "MacAddress": ""}  # between two of them
        (only,) = self.networks.values()
        return only  # type: ignore[no-any-return]

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in its network; a socket made there stays there."""
        return in_network_of(self.pid, function)

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Return a socket of its network, with a time limit."""
        made = self.inside(lambda: socket.socket(family, kind))
        made.settimeout(10)
        return made

    def run(self, *command: str, timeout_s: float = 60.0) -> Result:
        """Run a program of the container's in it, past `carrickd`."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "--mount", "--net", "--uts", "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
        return Result(command, done.returncode, done.stdout, done.stderr)

    def on_net(self, *command: str) -> str:
        """Run a program of the machine's in its network, which must succeed; return what it wrote."""
        argv = ["nsenter", "-t", str(self.pid), "--net", "--", *command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def resolve(self, name: str) -> list[str]:
        """Return what a name resolves to from here (A), nothing if it does not."""
        try:
            return sorted(self.inside(lambda: query(name)))
        except OSError:
            return []

    def dig(self, *words: str) -> list[str]:
        """Return the lines of dig's short answer."""
        return sorted(self.on_net("dig", "+short", "+tries=1", "+time=3", "@127.0.0.11", *words).split())

    def pings(self, address: str, *, count: int = 3) -> int:
        """Return how many of so many pings are answered; they go all at once, and have a second."""
        with Pinger(self, address, interval_s=0.01, late_s=1.0) as pinger:
            eventually(lambda: pinger.sent >= count, 30)
        return count - len([number for number in pinger.lost if number < count])

    def reaches(self, address: str, *, within_s: float = 2.0) -> bool:
        """Say whether it gets an answer to a ping, at the first go or soon after."""
        with Pinger(self, address, interval_s=0.02, late_s=0) as pinger:
            end = time.monotonic() + within_s
            while not pinger.answered and time.monotonic() < end:
                time.sleep(0.002)
            return pinger.answered > 0

    def is_kept_from(self, address: str) -> bool:
        """Say whether none of a few pings is answered."""
        return not self.reaches(address, within_s=0.4)


def _find_first(namespace: int) -> int:
    """Return the first process of a pid namespace, by its pid on the machine."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "ns/pid").stat().st_ino == namespace:
                status = (entry / "status").read_text()
                if re.search(r"^NSpid:.*\t1$", status, re.M):
                    return int(entry.name)
    raise ProcessLookupError(f"no process in pid namespace {namespace}")


def box(host: LabHost, name: str, network: str, *options: str, command: str = "exec sleep 1d") -> Box:
    """Run a container of busybox on a network, which ends at once when it is stopped."""
    stop = ("--stop-signal", "KILL")
    host.carrick(
        "run", "-d", "--name", name, "--network", network, *stop, *options, "busybox", "sh", "-c", command
    )
    return Box(host, name)


def settle_nodes(lab: TempLab) -> None:
    """Return once every host sees every other as ready."""

    def all_ready() -> bool:
        count = len(lab.hosts)
        for host in lab.hosts:
            nodes = host.api.get("/carrick/v1/nodes").json
            if len(nodes) != count or any(node["Status"] != "ready" for node in nodes):
                return False
            if host.api.get("/carrick/v1/cluster").json["Problem"]:
                return False
        return True

    eventually(all_ready, 60, "all nodes are ready")


def node_status(host: LabHost) -> dict[str, str]:
    """Return the nodes' status by name, as a host sees it."""
    return {node["Name"]: node["Status"] for node in host.api.get("/carrick/v1/nodes").json}


def cluster_keys(lab: TempLab) -> list[str]:
    """Return the keys of the lab's etcd."""
    words = ("env", "ETCDCTL_API=3", "etcdctl", "get", "", "--prefix", "--keys-only")
    return [line for line in lab.etcd.do(*words).splitlines() if line]


def leftovers(lab: TempLab) -> list[str]:
    """Return what networks and containers have left on hosts and in etcd, where there are none any more."""
    found = []
    for host in lab.hosts:
        links = {item["ifname"] for item in json.loads(host.do("ip", "-j", "link"))}
        found += [f"{host.name}: link {name}" for name in sorted(links - {"lo", "eth0", "carrick0"})]
        for place in ("/run/carrick/netns", "/var/lib/carrick/containers"):
            path = host.path(place)
            found += [f"{host.name}: {place}/{item.name}" for item in path.iterdir()] if path.exists() else []
        found += [f"{host.name}: {line}" for line in host.run("pgrep", "-af", "conmon").out.splitlines()]
    for key in cluster_keys(lab):
        kind = key.removeprefix("carrick/").partition("/")[0]
        if kind in {"networks", "network-names", "vnis", "blocks", "addresses", "endpoints", "lost"}:
            found.append(f"etcd: {key}")
    return found


class NameWatch:
    """Asks for a name every few milliseconds; says when it was answered (Unix time), first and last.

    What is not known is asked upstream by whoever is asked here, so that only answers tell anything.
    """

    def __init__(self, box: Box, name: str) -> None:
        self._question = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
        self._socket = box.socket(kind=socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.first = self.last = 0.0

    def forget(self) -> None:
        self.first = self.last = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.003):
            number = (number + 1) & 0xFFFF
            head = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0)
            self._socket.sendto(head + self._question + b"\0\0\1\0\1", ("127.0.0.11", 53))
            with suppress(BlockingIOError):
                while True:
                    answer = self._socket.recv(512)
                    if struct.unpack_from(">H", answer, 6)[0]:
                        self.last = time.time()
                        self.first = self.first or self.last


@dataclass(slots=True)
class Pinger:
    """Pings an address from a box while the block lasts, ten times a second; what stays unanswered is `lost`.

    At the end it waits `late_s` for the last answers.
    """

    box: Box
    address: str
    interval_s: float = 0.1
    late_s: float = _LATE_S
    sent: int = 0
    _answers: set[int] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _all_sent: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _socket: socket.socket | None = None
    _began: float = 0.0
    _identifier: int = field(default_factory=lambda: secrets.randbelow(1 << 16))
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        is_v6 = ip_address(self.address).version == 6
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if is_v6 else socket.IPPROTO_ICMP
        made = self.box.inside(lambda: socket.socket(family, socket.SOCK_RAW, protocol))
        made.setblocking(False)
        self._socket, self._began = made, time.monotonic()
        for work in (self._send, self._receive):
            thread = threading.Thread(target=work, args=(made, is_v6), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sender, receiver = self._threads
        self._stop.set()
        sender.join()
        # Not before: who has all answers but to the one that is being sent would miss that.
        self._all_sent.set()
        receiver.join()
        if self._socket is not None:
            self._socket.close()

    @property
    def answered(self) -> int:
        return len(self._answers)

    @property
    def lost(self) -> list[int]:
        """The numbers of those that were not answered, in order."""
        return [number for number in range(self.sent) if number not in self._answers]

    @property
    def report(self) -> str:
        lost = self.lost
        return f"{len(lost)} of {self.sent} lost ({self.longest_gap_s:.1f} s at a stretch) {lost[:20]}"

    @property
    def longest_gap_s(self) -> float:
        longest = current = 0
        for number in range(self.sent):
            current = 0 if number in self._answers else current + 1
            longest = max(longest, current)
        return longest * self.interval_s

    def _send(self, made: socket.socket, is_v6: bool) -> None:
        identifier = self._identifier
        while not self._stop.is_set():
            head = struct.pack(">BBHHH", _ECHO6 if is_v6 else _ECHO4, 0, 0, identifier, self.sent & 0xFFFF)
            body = bytes(40)
            if not is_v6:
                checksum = _checksum(head + body)
                head = head[:2] + struct.pack(">H", checksum) + head[4:]
            try:
                made.sendto(head + body, (self.address, 0))
            except OSError as error:
                self.errors.append(os.strerror(error.errno or 0))
            self.sent += 1
            self._stop.wait(max(0.0, self._began + self.sent * self.interval_s - time.monotonic()))

    def _receive(self, made: socket.socket, is_v6: bool) -> None:
        identifier = self._identifier
        end = float("inf")
        while time.monotonic() < end:
            if self._all_sent.is_set():
                end = min(end, time.monotonic() + self.late_s)
                if self.answered == self.sent:
                    return
            if not select.select([made], [], [], 0.02)[0]:
                continue
            try:
                data = made.recv(2048)
            except OSError:
                continue  # "host unreachable" is told here; what it means is that nothing came
            icmp = data if is_v6 else data[(data[0] & 15) * 4 :]
            kind, _, _, theirs, number = struct.unpack_from(">BBHHH", icmp)
            if kind == (_REPLY6 if is_v6 else _REPLY4) and theirs == identifier:
                # The number has 16 bits; nobody pings for two hours here.
                self._answers.add(number)


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


__all__ = [
    "Box",
    "NameWatch",
    "Pinger",
    "box",
    "cluster_keys",
    "leftovers",
    "node_status",
    "settle_nodes",
]
