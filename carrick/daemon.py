"""`carrickd`: the composition root. Builds every object, starts every task; one list.

Control only: it may be killed at any moment. Containers are conmon's, traffic the kernel's, names
`carrick-dns`'s, held ports `carrick-ports`'s; what it starts with is what they left.
"""

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

from . import __version__
from .domains.dns.protocol import Change, Codec, Done, Refused, Reply, Request, Snapshot, Update
from .doors.api.server import ApiServer
from .doors.cni import SOCKET_NAME as CNI_SOCKET
from .doors.cni import CniCalls, CniServer
from .doors.plugin.server import PluginServer, PluginSettings
from .drivers.registry import load_drivers
from .engine.clock import SystemClock
from .engine.cluster.sealing import Seal
from .engine.cluster.values import Admitted
from .engine.engine import CarrickEngine
from .engine.names import NameService
from .host import processes
from .host.cni import LocalCni
from .host.config import Config, load_config
from .host.kernel import LinuxKernel
from .host.kernel.monitor import Monitor
from .host.plugins import HttpPlugins, Places
from .host.portholder.client import PortHolderClient
from .host.resolver.control import ResolverClient
from .host.runtime.images import LocalImageStore
from .host.runtime.layout import Layout
from .host.runtime.local import LocalRuntime, Programs
from .host.runtime.registry import RegistryClient, RegistrySettings
from .host.runtime.volumes import LocalVolumeStore
from .host.store.sqlite import SqliteStore
from .model.cluster import ClusterSettings
from .model.errors import CarrickError, InvalidRequest
from .model.networks import Scope

if TYPE_CHECKING:
    from .doors.node.server import NodeServer

_log = logging.getLogger("carrickd")
DNS_SOCKET = "carrick-dns.sock"
PORTS_SOCKET = "carrick-ports.sock"


class Door(Protocol):
    """A way in: from `start` on it answers, until `stop`."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class _ResolverLink:
    """Numbers the messages to `carrick-dns`, and tells a refusal from a success."""

    def __init__(self, socket: Path, names: NameService) -> None:
        codec = Codec()
        self._revision = 0
        self._names = names
        self.client: ResolverClient[Request, Reply] = ResolverClient(
            socket, encode=codec.encode, decode=codec.decode_reply, snapshot=self._snapshot
        )

    def _next(self) -> int:
        self._revision += 1
        return self._revision

    async def _snapshot(self) -> Snapshot:
        return self._names.snapshot(self._next())

    async def update(self, changes: Sequence[Change]) -> None:
        reply = await self.client.request(Update(self._next(), tuple(changes)))
        if isinstance(reply, Refused):
            raise InvalidRequest(reply.message)
        if isinstance(reply, Done):
            for sandbox, problem in reply.problems.items():
                _log.warning("names of sandbox %s: %s", sandbox[:12], problem)


class _NodeDoor:
    """The node API, which serves while this host is in a cluster."""

    def __init__(self, engine: CarrickEngine) -> None:
        self._engine = engine
        self._server: NodeServer | None = None
        engine.cluster.on_member = self.follow
        engine.cluster.on_renewed = self._reload

    async def follow(self, settings: ClusterSettings | None) -> None:
        """Begin to serve, or with None end it."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        if settings is not None:
            from .doors.node.server import NodeServer

            joining = self._engine.cluster.joining
            server = NodeServer(self._engine.cluster, joining.identity, joining.listen(settings))
            await server.start()
            self._server = server

    async def _reload(self, admitted: Admitted) -> None:
        if self._server is not None:
            self._server.reload()


def _seal(config: Config, kernel: LinuxKernel) -> Seal:
    from .domains.wireguard import device_name
    from .host.wireguard import Wireguard

    return Wireguard(
        name=device_name(config.name),
        alias=f"{config.name}:wireguard",
        directory=config.state_dir / "wireguard",
        log=config.state_dir / "log" / "wireguard-go.log",
        kernel=kernel,
    )


def _host_id(state_dir: Path) -> str:
    """Return this installation's own id, made once: machine ids are copied with disk images."""
    path = state_dir / "host-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        identifier = str(uuid4())
        path.write_text(identifier + "\n")
        return identifier


def _companions(config: Config) -> list[processes.Companion]:
    common = ("--run-dir", str(config.run_dir), "--state-dir", str(config.state_dir))
    return [
        processes.Companion(
            name,
            f"carrick.{module}",
            common,
            config.run_dir / socket,
            config.state_dir / "log" / f"{name}.log",
        )
        for name, module, socket in (
            ("carrick-dns", "dns_process", DNS_SOCKET),
            ("carrick-ports", "ports_process", PORTS_SOCKET),
        )
    ]


async def run(config: Config, *, supervise: bool = True) -> None:
    """Run the daemon until it is told to stop (SIGTERM, SIGINT)."""
    for directory in (config.state_dir, config.run_dir):
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)
    (config.run_dir / "carrickd.pid").write_text(f"{os.getpid()}\n")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    kernel = LinuxKernel()
    holder = PortHolderClient(config.run_dir / PORTS_SOCKET, on_connect=lambda: _sync_ports(engine, holder))
    registries = RegistryClient(
        RegistrySettings(config.insecure_registries, config.registry_certificates),
        user_agent=f"carrick/{__version__}",
    )
    images = LocalImageStore(config.state_dir / "images", registries=registries)
    volumes = LocalVolumeStore(config.state_dir / "volumes")
    runtime = LocalRuntime(
        Layout(config.state_dir, config.run_dir / "runtime"),
        images.lower_dir,
        cgroup_parent=config.cgroup_parent or config.name,
        programs=Programs(runc=config.runtime),
    )
    local_cni = LocalCni(config.run_dir / "cni-locks")
    plugins = HttpPlugins(Places(config.plugin_sockets, config.plugin_specs, own=config.docker_plugin_path))
    store = SqliteStore(config.state_dir / "carrick.db")
    async with store:
        host_id = _host_id(config.state_dir)
        engine = CarrickEngine(
            config=config,
            store=store,
            kernel=kernel,
            runtime=runtime,
            images=images,
            volumes=volumes,
            holder=holder,
            drivers=load_drivers(),
            clock=SystemClock(),
            host_id=host_id,
            cni=local_cni,
            plugins=plugins,
            make_seal=lambda: _seal(config, kernel),
            resolver_is_up=lambda: link.client.is_synced,
            holder_is_up=lambda: holder.is_connected,
        )
        link = _ResolverLink(config.run_dir / DNS_SOCKET, engine.names)
        monitor = Monitor(
            kernel.is_own_change,
            engine.notice,
            table=config.name,
            on_rules=engine.shortcuts.notice_rules,
        )
        server = ApiServer(engine, config.socket_path, group=config.group)
        doors: list[Door] = [server, CniServer(CniCalls(engine, local_cni), config.run_dir / CNI_SOCKET)]
        plugin = _docker_plugin(engine, config)
        node_door = _NodeDoor(engine)
        companions = _companions(config) if supervise else []

        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(processes.ensure(item), name=item.name) for item in companions]
            await engine.prepare()
            for waiting in started:
                await waiting
            owned: list[asyncio.Task[None]] = [
                tasks.create_task(processes.keep(item), name=f"keep {item.name}") for item in companions
            ]
            owned.append(tasks.create_task(holder.run(), name="ports"))
            owned.append(tasks.create_task(link.client.run(), name="names"))
            owned.append(tasks.create_task(store.run(), name="leases"))
            if plugin is not None:
                owned.append(tasks.create_task(plugin.run(), name="docker names"))
            engine.names.connect(link)
            async with engine.running():
                monitor.start()
                for door in doors:
                    await door.start()
                if plugin is not None and await _starts(plugin):
                    doors.append(plugin)
                _log.info("ready: carrickd %s serves %s", __version__, config.socket_path)
                _notify_systemd("READY=1")
                await stop.wait()
                _log.info("stopping; containers go on")
                _notify_systemd("STOPPING=1")
                monitor.stop()
                for door in reversed(doors):
                    await door.stop()
                await node_door.follow(None)
            for task in owned:
                task.cancel()
        await plugins.close()
        await holder.close()
        kernel.close()


def _docker_plugin(engine: CarrickEngine, config: Config) -> PluginServer | None:
    socket = config.docker_plugin_path
    if socket is None:
        return None
    return PluginServer(
        engine, PluginSettings(socket, config.group, Scope(config.docker_scope), config.docker_engine)
    )


async def _starts(plugin: PluginServer) -> bool:
    """Start to serve Docker engines; that another daemon does so already is no reason not to run."""
    try:
        await plugin.start()
    except CarrickError as error:
        _log.warning("Docker engines are not served: %s", error)
        return False
    return True


async def _sync_ports(engine: CarrickEngine, holder: PortHolderClient) -> None:
    """Tell a `carrick-ports` that has just come what is to be held."""
    for owner, problem in (await holder.sync(engine.ports.everything_held())).items():
        _log.error("ports of container %s: %s", owner[:12], problem)


def _notify_systemd(message: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(message.encode())


def _parse(arguments: list[str] | None) -> tuple[Config, bool]:
    parser = argparse.ArgumentParser(
        prog="carrickd",
        description="The Carrick daemon.",
        epilog="example: carrickd --state-dir /var/lib/carrick --run-dir /run/carrick",
    )
    parser.add_argument("--config", type=Path, help="TOML file (default: /etc/carrick/carrickd.toml)")
    parser.add_argument("--state-dir", type=Path, help="what outlives a reboot")
    parser.add_argument("--run-dir", type=Path, help="sockets, namespaces, pids")
    parser.add_argument("--socket", "-H", type=Path, help="the API's Unix socket")
    parser.add_argument("--group", help="who may use the socket")
    parser.add_argument("--name", help="marks nftables tables and cgroups (default: carrick)")
    parser.add_argument("--default-bridge", help="the default network's bridge (default: carrick0)")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument(
        "--no-companions",
        action="store_true",
        help="do not start carrick-dns and carrick-ports: something else does (systemd)",
    )
    parser.add_argument("--version", action="version", version=f"carrickd {__version__}")
    options = vars(parser.parse_args(arguments))
    path: Path | None = options.pop("config")
    supervise = not options.pop("no_companions")
    default = Path("/etc/carrick/carrickd.toml")
    if path is None and default.exists():
        path = default
    return load_config(path, options), supervise


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `carrickd`; returns the exit code."""
    try:
        config, supervise = _parse(arguments)
    except CarrickError as error:
        print(f"carrickd: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # It writes every header at DEBUG, and etcd's tokens are headers.
    logging.getLogger("hpack").setLevel(logging.INFO)
    if os.geteuid() != 0:
        print("carrickd: it must run as root (network namespaces, nftables, mounts)", file=sys.stderr)
        return 6
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    problems: list[BaseException] = []
    try:
        asyncio.run(run(config, supervise=supervise))
    except* CarrickError as group:
        problems = list(group.exceptions)
    for problem in problems:
        print(f"carrickd: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
