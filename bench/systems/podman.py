"""Podman, which has no daemon: each command does the work itself, on storage and state of its own."""

import json
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..materials import IMAGE
from ..namespaces import Host
from ..processes import Process
from ..programs import clean_environment
from .command_line import CommandLine
from .contract import Door, Part, Resolver

_PARTS = {"conmon": Part.CONTAINER, "aardvark-dns": Part.CONTROL, "dnsmasq": Part.CONTROL}


class Podman:
    """The `podman` command. `backend` is `netavark` (its default where it is installed) or `cni`."""

    name = "podman"
    has_daemon = False

    def __init__(self, host: Host, directory: Path, backend: str) -> None:
        self.host = host
        self._backend = backend
        program = shutil.which("podman", path="/usr/bin:/usr/local/bin")
        if program is None:
            raise BenchError("podman: no command; bench/install.sh installs it")
        run = Path("/run/podman-bench")
        run.mkdir()
        (directory / "home").mkdir()
        (directory / "networks").mkdir()
        settings = directory / "containers.conf"
        settings.write_text(_settings(backend, directory / "networks"))
        registries = directory / "registries.conf"
        registries.write_text('unqualified-search-registries = ["localhost"]\n')
        storage = directory / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/storage"\nrunroot = "{run}/storage"\n'
        )
        environment = clean_environment(
            directory / "home",
            {
                "CONTAINERS_CONF": str(settings),
                "CONTAINERS_REGISTRIES_CONF": str(registries),
                "CONTAINERS_STORAGE_CONF": str(storage),
            },
        )
        prefix = (
            program, "--root", str(directory / "storage"), "--runroot", str(run / "storage"),
            "--tmpdir", str(run / "tmp"), "--runtime", "runc", "--cgroup-manager", "cgroupfs",
        )  # fmt: skip
        self._command = CommandLine(
            prefix,
            environment,
            host.namespace,
            run_options=("--cgroup-parent", f"/{directory.parent.name}/podman"),
            # `sleep` as process 1 ignores SIGTERM; Docker's `rm -f` kills at once.
            remove_options=("-t", "0"),
        )

    @property
    def doors(self) -> Sequence[Door]:
        return (self._command,)

    def start(self) -> None:
        self._command.call("info")

    def stop(self) -> None:
        """Nothing runs but containers."""

    def version(self) -> str:
        found = json.loads(self._command.call("version", "--format", "json"))
        return f"{found['Client']['Version']} ({self._backend})"

    def import_image(self, tarball: Path) -> None:
        self._command.call("import", str(tarball), IMAGE)

    def pid_of(self, container: str) -> int:
        return int(self._inspect(container)["State"]["Pid"])

    def address_of(self, container: str, network: str) -> str:
        return str(self._inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"])

    def resolver_of(self, container: str) -> Resolver:
        lines = Path(str(self._inspect(container)["ResolvConfPath"])).read_text().splitlines()
        servers = [line.split()[1] for line in lines if line.startswith("nameserver")]
        if self._backend == "cni" or not servers:
            # The dnsname plug-in isn't among what is installed.
            raise BenchError("podman with CNI has no names")
        return Resolver(servers[0], ".dns.podman")

    def part_of(self, process: Process) -> Part | None:
        return _PARTS.get(process.program)

    def kill_and_wait(self, running: int) -> float:
        raise BenchError("podman has no daemon")

    def _inspect(self, container: str) -> Any:
        return json.loads(self._command.call("inspect", "--type", "container", container))[0]


def _settings(backend: str, networks: Path) -> str:
    # Podman asks for more than the process may have where CAP_SYS_RESOURCE is missing: ask for just that.
    files, processes = (
        resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        resource.getrlimit(resource.RLIMIT_NPROC)[1],
    )
    return f"""[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[network]
network_backend = "{backend}"
network_config_dir = "{networks}"
cni_plugin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
[engine]
events_logger = "file"
runtime = "runc"
no_pivot_root = false
"""
