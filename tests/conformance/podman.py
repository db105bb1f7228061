"""A real Podman with CNI networks, on a daemon's machine: files, storage and configuration are its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

from carrick.testing.daemon import Daemon, Result

PODMAN = "/usr/bin/podman"
REFERENCE = "/usr/lib/cni"
_ROOT = Path(__file__).parents[2]
# Of this machine: hard limits cannot be raised here, and crun does not start on hybrid cgroups.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin}", "{reference}"]
network_config_dir = "{conf}"
"""
_STORAGE = """\
[storage]
driver = "vfs"
runroot = "{run}"
graphroot = "{root}"
"""


class Podman:
    """Use `prepare` once; what it leaves ends with the daemon's machine and directory."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        base = daemon.directory / "podman"
        base.mkdir()
        self.bin, self.conf, self._base = base / "bin", base / "net.d", base
        self.image = base / "busybox.tar"
        (base / "containers.conf").write_text(
            _CONTAINERS.format(bin=self.bin, conf=self.conf, reference=REFERENCE)
        )
        (base / "storage.conf").write_text(_STORAGE.format(run=base / "run", root=base / "root"))

    def prepare(self, network: str) -> None:
        """Install Carrick's plugin for a network, and import the image `busybox`."""
        self.use(network)
        with self.image.open("wb") as file:
            subprocess.run([_ROOT / "scripts" / "busybox-image"], stdout=file, check=True)
        self.do("import", str(self.image), "busybox")

    def use(self, network: str) -> None:
        """Let Podman know a network of Carrick's, by the same name."""
        self.daemon.do(
            *("cni", "install", "--bin-dir", str(self.bin), "--conf-dir", str(self.conf)),
            *("--network", network),
        )

    def run(self, *arguments: str, timeout_s: float = 120.0) -> Result:
        return self.daemon.machine.run(
            *(PODMAN, "--tmpdir", str(self._base / "tmp"), *arguments),
            timeout_s=timeout_s,
            environment={
                "CONTAINERS_CONF": str(self._base / "containers.conf"),
                "CONTAINERS_STORAGE_CONF": str(self._base / "storage.conf"),
            },
        )

    def do(self, *arguments: str) -> str:
        result = self.run(*arguments)
        if result.code != 0:
            raise AssertionError(f"{result}\n--- carrickd:\n{self.daemon.log_text()[-3000:]}")
        return result.out.strip()

    def start(self, name: str, *options: str, command: tuple[str, ...] = ("sleep", "1d")) -> str:
        """Run a container that stays; its cgroups are the daemon's, which removes them."""
        parent = f"--cgroup-parent=/{self.daemon.name}"
        return self.do("run", "-d", "--name", name, parent, *options, "busybox", *command)

    def inspect(self, name: str) -> Any:
        return json.loads(self.do("inspect", name))[0]
