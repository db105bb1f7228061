"""A real etcd for tests: one member or several, on loopback addresses of its own, with faults.

Each cluster draws a network out of 127.0.0.0/8, so that several test runs, and an etcd of the machine's, do
not meet and no port has to be looked for. Needs Debian's `etcd-server` and `etcd-client`, and no root.
Members die with the thread that started them.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..host.store.etcd_config import Endpoint, EtcdConfig
from .certificates import Authority, Certificate

CLIENT_PORT, PEER_PORT = 2379, 2380
_START_TIMEOUT_S = 60.0


def has_etcd() -> bool:
    return shutil.which("etcd") is not None and shutil.which("etcdctl") is not None


class EtcdMember:
    """One etcd process, which may be stopped, killed, frozen and started again with what it had."""

    def __init__(self, name: str, address: str, directory: Path, arguments: Sequence[str]) -> None:
        self.name = name
        self.address = address
        self.directory = directory
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.directory / "etcd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *more: str) -> None:
        """Start it, with more arguments if need be. Does not wait: see `EtcdCluster.wait_ready`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "etcd", *self._arguments, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it take connections and bytes, and answer nothing: a black hole."""
        os.kill(self.pid, signal.SIGSTOP)
        # Each of its threads stops in its own time; until then it may answer.
        end = time.monotonic() + 10
        while any(state(task) not in "Tt" for task in Path(f"/proc/{self.pid}/task").iterdir()):
            if time.monotonic() > end:
                raise AssertionError("etcd does not stop")
            time.sleep(0.001)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def memory_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def state(task: Path) -> str:
    """Return the letter of a thread's state (proc(5)), "T" for one that is gone."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "T"


class EtcdCluster:
    """Members that know each other. A context manager: running inside, gone without a trace after it.

    With `tls` an authority signs certificates for the members, and `client` for `etcdctl` and the store;
    clients must show one. `options` are further flags of etcd.
    """

    def __init__(
        self,
        members: int = 1,
        *,
        tls: bool = False,
        options: Sequence[str] = (),
        server: Certificate | None = None,
    ) -> None:
        # On tmpfs: each commit waits for the disk, which other tests may keep busy.
        base = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix="carrick-etcd-", dir=base if base.is_dir() else None))
        rng = random.SystemRandom()
        network = f"127.{rng.randrange(16, 250)}.{rng.randrange(250)}"
        addresses = [f"{network}.{number + 1}" for number in range(members)]
        self.authority: Authority | None = None
        self.client: Certificate | None = None
        self._scheme = "https" if tls else "http"
        self._user = ""
        flags = list(options)
        if tls:
            self.authority = Authority(self.directory / "tls")
            server = server or self.authority.issue("server", addresses)
            self.client = self.authority.issue("client")
            flags += ["--cert-file", str(server.cert), "--key-file", str(server.key)]
            flags += ["--trusted-ca-file", str(self.authority.ca), "--client-cert-auth"]
        initial = ",".join(f"m{n}=http://{address}:{PEER_PORT}" for n, address in enumerate(addresses))
        self.members = [
            EtcdMember(
                f"m{number}",
                address,
                self.directory / f"m{number}",
                [
                    *("--name", f"m{number}", "--data-dir", "data", "--initial-cluster", initial),
                    *("--listen-client-urls", f"{self._scheme}://{address}:{CLIENT_PORT}"),
                    *("--advertise-client-urls", f"{self._scheme}://{address}:{CLIENT_PORT}"),
                    *("--listen-peer-urls", f"http://{address}:{PEER_PORT}"),
                    *("--initial-advertise-peer-urls", f"http://{address}:{PEER_PORT}"),
                    *("--initial-cluster-token", self.directory.name),
                    *flags,
                ],
            )
            for number, address in enumerate(addresses)
        ]

    def __enter__(self) -> Self:
        try:
            for member in self.members:
                member.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for member in self.members:
            member.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(Endpoint(item.address, CLIENT_PORT, self._scheme == "https") for item in self.members)

    def config(self, prefix: str = "carrick/", **changes: Any) -> EtcdConfig:
        """Return what a store needs; `changes` are fields of `EtcdConfig`."""
        settings: dict[str, Any] = {"endpoints": self.endpoints, "prefix": prefix}
        if self.authority and self.client:
            settings |= {"cacert": self.authority.ca, "cert": self.client.cert, "key": self.client.key}
        return EtcdConfig(**(settings | changes))

    def wait_ready(self, *members: EtcdMember) -> None:
        """Wait until these members, or all, serve reads. Raises RuntimeError with etcd's log."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        for member in members or self.members:
            while self._ctl(member, "endpoint", "health").returncode:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"etcd {member.name} is not ready: {member.log[-3000:]}")
                time.sleep(0.05)

    def ctl(self, *arguments: str, member: int = 0) -> str:
        """Run `etcdctl` on a member and return what it says. Raises RuntimeError."""
        done = self._ctl(self.members[member], *arguments)
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def leader(self) -> int:
        """Return the index of the member that leads, once one does."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            for number in range(len(self.members)):
                try:
                    (found,) = json.loads(self.ctl("endpoint", "status", "-w", "json", member=number))
                except RuntimeError:
                    continue
                if found["Status"]["header"]["member_id"] == found["Status"].get("leader"):
                    return number
            time.sleep(0.05)
        raise RuntimeError("the members have not agreed on a leader")

    def move_leader(self) -> int:
        """Let another member lead, and return its index."""
        before = self.leader()
        listed = json.loads(self.ctl("member", "list", "-w", "json", member=before))["members"]
        after = (before + 1) % len(self.members)
        (target,) = (item["ID"] for item in listed if item["name"] == self.members[after].name)
        self.ctl("move-leader", f"{target:x}", member=before)
        return after

    def revision(self, member: int = 0) -> int:
        (found,) = json.loads(self.ctl("endpoint", "status", "-w", "json", member=member))
        return int(found["Status"]["header"]["revision"])

    def enable_auth(self, user: str, password: str, *, prefix: str) -> None:
        """Turn authentication on, with a root and a user who may do everything below `prefix`."""
        self.ctl("user", "add", "root:root")
        self.ctl("user", "grant-role", "root", "root")
        self.ctl("role", "add", "carrick")
        self.ctl("role", "grant-permission", "carrick", "--prefix=true", "readwrite", prefix)
        self.ctl("user", "add", f"{user}:{password}")
        self.ctl("user", "grant-role", user, "carrick")
        self.ctl("auth", "enable")
        self._user = "root:root"

    def _ctl(self, member: EtcdMember, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["etcdctl", "--endpoints", f"{self._scheme}://{member.address}:{CLIENT_PORT}"]
        if self.authority and self.client:
            command += ["--cacert", str(self.authority.ca)]
            command += ["--cert", str(self.client.cert), "--key", str(self.client.key)]
        if self._user:
            command += ["--user", self._user]
        return subprocess.run(
            [*command, *arguments],
            check=False,
            capture_output=True,
            env=os.environ | {"ETCDCTL_API": "3"},
            timeout=30,
        )
