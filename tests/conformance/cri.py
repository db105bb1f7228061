"""A real containerd with its CRI service on a daemon's machine, and a client of that service.

The client is as much of gRPC and protobuf as the test needs; field numbers are those of Kubernetes' published
`runtime.v1` API (k8s.io/cri-api, api.proto).
"""

import asyncio
import hashlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carrick.host.store.etcd_call import CallFailed
from carrick.host.store.etcd_config import Endpoint
from carrick.host.store.etcd_grpc import GrpcConnection
from carrick.testing.daemon import Daemon

CONTAINERD = "/usr/bin/containerd"
IMAGE = "localhost/busybox:latest"
_ROOT = Path(__file__).parents[2]
_START_S = 60.0
_CONFIG = """\
version = 2
root = "{base}/root"
state = "{base}/state"
oom_score = 0
[grpc]
  address = "{base}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{base}/bin"
    conf_dir = "{base}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"""


class Refused(Exception):
    """The service's own words."""


class Containerd:
    """Use it as a context manager, within the daemon's."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.base = daemon.directory / "containerd"
        self.base.mkdir()
        self.socket = self.base / "containerd.sock"
        (self.base / "config.toml").write_text(_CONFIG.format(base=self.base, image=IMAGE))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Containerd":
        with (self.base / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.daemon.machine.command(CONTAINERD, "--config", str(self.base / "config.toml")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + _START_S
        while self.ctr("version").returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"containerd did not start:\n{self.log()}")
            time.sleep(0.1)
        (self.base / "busybox.tar").write_bytes(_image())
        done = self.ctr("images", "import", "--snapshotter", "native", str(self.base / "busybox.tar"))
        assert done.returncode == 0, done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        """What it started ends with the machine."""
        if self._process is not None:
            pid = self.daemon.machine.run("pidof", "containerd").out.split()
            self.daemon.machine.run("kill", *pid)
            self._process.wait(30)

    def ctr(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = ("ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments)
        return subprocess.run(
            self.daemon.machine.command(*command), capture_output=True, text=True, check=False, timeout=120
        )

    def log(self) -> str:
        return (self.base / "log").read_text(errors="replace")[-6000:]


def _image() -> bytes:
    """Return busybox as `docker save` would write it, with `sleep` as its command."""
    layer = subprocess.run([_ROOT / "scripts" / "busybox-image"], stdout=subprocess.PIPE, check=True).stdout
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sleep", "1d"], "Env": ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as archive:
        for name, data in (("manifest.json", manifest), ("config.json", config), ("layer.tar", layer)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return found.getvalue()


# Protobuf --------------------------------------------------------------------------------------------

Value = int | str | bytes
Fields = Sequence[tuple[int, Value]]


def message(*fields: tuple[int, Value]) -> bytes:
    """Encode fields (number, value): whole numbers as varints, the rest as bytes."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number << 3) + _varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(_varint(number << 3 | 2) + _varint(len(data)) + data)
    return b"".join(parts)


def read(data: bytes) -> dict[int, list[int | bytes]]:
    """Take a message apart."""
    found: dict[int, list[int | bytes]] = {}
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while position < len(data):
        tag = varint()
        value = varint()
        if tag & 7 == 0:
            found.setdefault(tag >> 3, []).append(value)
        else:
            assert tag & 7 == 2, tag
            found.setdefault(tag >> 3, []).append(data[position : position + value])
            position += value
    return found


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _text(fields: dict[int, list[int | bytes]], number: int) -> str:
    value = fields.get(number, [b""])[-1]
    assert isinstance(value, bytes)
    return value.decode()


# The service -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pod:
    """A pod sandbox as it is asked for; `ports` are (host port, container port)."""

    name: str
    namespace: str = "default"
    ports: tuple[tuple[int, int], ...] = ()
    cgroup_parent: str = ""

    def encode(self) -> bytes:
        metadata = message((1, self.name), (2, f"uid-{self.name}"), (3, self.namespace))
        ports = [(5, message((1, 0), (2, container), (3, host))) for host, container in self.ports]
        return message(
            (1, metadata),
            (2, self.name),
            (3, "/tmp"),
            *ports,
            (8, message((1, self.cgroup_parent))),
        )


class Cri:
    """The client: one call after another, each on a connection of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def run_pod(self, pod: Pod) -> str:
        """RunPodSandbox: return its id."""
        return _text(self._call("RunPodSandbox", message((1, pod.encode()))), 1)

    def stop_pod(self, pod: str) -> None:
        self._call("StopPodSandbox", message((1, pod)))

    def remove_pod(self, pod: str) -> None:
        self._call("RemovePodSandbox", message((1, pod)))

    def pod_address(self, pod: str) -> str:
        status = read(_bytes(self._call("PodSandboxStatus", message((1, pod))), 1))
        return _text(read(_bytes(status, 5)), 1)

    def run_container(self, pod: str, config: Pod, name: str, *command: str) -> str:
        """CreateContainer and StartContainer: return its id."""
        wanted = message((1, message((1, name))), (2, message((1, IMAGE))), *((3, word) for word in command))
        made = self._call("CreateContainer", message((1, pod), (2, wanted), (3, config.encode())))
        container = _text(made, 1)
        self._call("StartContainer", message((1, container)))
        return container

    def exec(self, container: str, *command: str) -> tuple[int, str]:
        """ExecSync: return the exit code and the output."""
        words = [(2, word) for word in command]
        found = self._call("ExecSync", message((1, container), *words, (3, 60)))
        code = found.get(3, [0])[-1]
        assert isinstance(code, int)
        return code, _text(found, 1) + _text(found, 2)

    def _call(self, method: str, request: bytes) -> dict[int, list[int | bytes]]:
        return read(asyncio.run(self._ask(f"/runtime.v1.RuntimeService/{method}", request)))

    async def _ask(self, method: str, request: bytes) -> bytes:
        connection = GrpcConnection(Endpoint("localhost", 80, tls=False))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(120):
                await loop.create_unix_connection(lambda: connection, str(self._socket))
                await connection.wait_ready()
                call = connection.open(method, [])
                await call.send(request, end=True)
                answer = await call.receive()
                while await call.receive() is not None:
                    pass
            assert answer is not None
            return answer
        except CallFailed as error:
            raise Refused(str(error)) from error
        finally:
            connection.close()


def _bytes(fields: dict[int, list[int | bytes]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    assert isinstance(value, bytes)
    return value
