"""Docker Engine as Debian packages it: containerd beside it (there a unit of its own), live-restore on."""

import json
from pathlib import Path

from ..namespaces import Host
from ..processes import Process
from ..programs import Background, clean_environment
from .command_line import CommandLine
from .contract import Part
from .daemons import EngineSystem, docker_client

_PARTS = {
    "dockerd": Part.CONTROL,
    "containerd": Part.CONTROL,
    "docker-proxy": Part.PORTS,
    "containerd-shim-runc-v2": Part.CONTAINER,
    "containerd-shim": Part.CONTAINER,
}


class Docker(EngineSystem):
    """`dockerd` and `containerd` on sockets and directories of their own."""

    name = "docker"

    def __init__(self, host: Host, directory: Path) -> None:
        # Sockets go to the run's own /run: their paths may be 107 bytes long, no more.
        self._run = Path("/run/docker-bench")
        self._run.mkdir()
        super().__init__(host, directory, self._run / "docker.sock")
        home = directory / "home"
        home.mkdir()
        self._environment = clean_environment(home)
        self._command = docker_client(self)
        self._containerd: Background | None = None

    @property
    def command(self) -> CommandLine:
        return self._command

    def start(self) -> None:
        configuration = self.directory / "containerd.toml"
        configuration.write_text(_containerd_configuration(self.directory / "containerd", self._run))
        self._containerd = Background(
            ("/usr/bin/containerd", "--config", str(configuration), "--log-level", "warn"),
            self.directory / "containerd.log",
            self._environment,
            self.host.namespace,
        )
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._containerd is not None:
            self._containerd.stop()

    def start_daemon(self) -> Background:
        command = (
            "/usr/sbin/dockerd", "-H", f"unix://{self._run}/docker.sock",
            "--data-root", str(self.directory / "data"), "--exec-root", str(self._run / "exec"),
            "--pidfile", str(self._run / "docker.pid"), "--containerd", f"{self._run}/containerd.sock",
            "--config-file", str(self._configuration()), "--live-restore", "--log-level", "warn",
            "--cgroup-parent", f"/{self.directory.parent.name}/docker",
        )  # fmt: skip
        return Background(command, self.directory / "dockerd.log", self._environment, self.host.namespace)

    def part_of(self, process: Process) -> Part | None:
        return _PARTS.get(process.program)

    def _configuration(self) -> Path:
        """An empty one: that of the machine must not speak."""
        path = self.directory / "daemon.json"
        path.write_text(json.dumps({}))
        return path


def _containerd_configuration(root: Path, run: Path) -> str:
    # Kubernetes' part is off, as in the containerd that dockerd starts by itself: it only costs memory here.
    return f"""version = 2
root = "{root}"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{run}/containerd.sock"
"""
