"""The daemon's configuration: a TOML file, overridden by flags. Every path and name is settable here.

Two daemons on one machine differ in `state_dir`, `run_dir` and their network namespace; within one namespace
they differ in `name` too.
"""

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from ..model.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class AddressPool:
    """An entry of `default_address_pools`: subnets of length `size` are cut from `base`."""

    base: str
    size: int


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. `name` marks tables, cgroups and the like; `default_bridge` is a link's name.

    `bip`, `fixed_cidr`, `bip6`, `fixed_cidr_v6`, `icc`, `ip_masq`, `ip` and `mtu` shape the default network,
    as they do in Docker's daemon.json. `insecure_registries` are hosts and networks that are also spoken to
    without TLS; `registry_certificates` has a directory for each registry (HOST:PORT/ca.crt …).

    `cni_path` are directories of CNI plugins for networks of driver `cni`; in `plugin_sockets` and
    `plugin_specs` Docker's network plugins are looked for. `docker_plugin` is the socket on which Docker
    engines find the plugin `carrick`: a path, `off`, or `auto`, which is where Docker looks if `run_dir` is
    the usual one, and else in `run_dir`. `docker_engine` is the engine's own socket, where the names of its
    containers are; `docker_scope` is what Docker is told of how far the plugin's networks reach.

    `bridge_filter` says whether packets between containers of one bridge go on passing the host's IP rules
    where br_netfilter makes them: `keep` leaves it as it is, `off` switches that off, `auto` does where
    nobody else seems to need it. `shortcuts` says whether overlay networks take those past their bridges and
    the host's IP output that eBPF offers: `auto` where nobody can miss what is passed by. `allow_hooks` lets
    commands that come with a cluster's networks (flannel's `extension`) run here, as root. `key_lasts_days`
    is how old this node's WireGuard key gets before another takes its place; 0: for ever.
    """

    state_dir: Path = Path("/var/lib/carrick")
    run_dir: Path = Path("/run/carrick")
    socket: Path | None = None
    group: str = ""
    name: str = "carrick"
    log_level: str = "info"

    default_bridge: str = "carrick0"
    default_address_pools: tuple[AddressPool, ...] = ()
    bip: str = ""
    fixed_cidr: str = ""
    bip6: str = ""
    fixed_cidr_v6: str = ""
    ipv6: bool = False
    icc: bool = True
    ip_masq: bool = True
    ip: str = ""
    mtu: int = 0

    default_network_names: bool = True
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway_ips: tuple[str, ...] = ()

    insecure_registries: tuple[str, ...] = ()
    registry_certificates: Path = Path("/etc/docker/certs.d")

    cni_path: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    plugin_sockets: tuple[Path, ...] = (Path("/run/docker/plugins"),)
    plugin_specs: tuple[Path, ...] = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))

    docker_plugin: str = "auto"
    docker_engine: Path = Path("/var/run/docker.sock")
    docker_scope: Literal["local", "global"] = "local"
    bridge_filter: Literal["auto", "keep", "off"] = "auto"
    shortcuts: Literal["auto", "off"] = "auto"
    allow_hooks: bool = False
    key_lasts_days: Annotated[float, msgspec.Meta(ge=0)] = 30.0

    runtime: str = "runc"
    cgroup_parent: str = ""

    @property
    def docker_plugin_path(self) -> Path | None:
        if self.docker_plugin == "off":
            return None
        if self.docker_plugin != "auto":
            return Path(self.docker_plugin)
        usual = self.run_dir == Path("/run/carrick")
        return Path("/run/docker/plugins/carrick.sock") if usual else self.run_dir / "docker-plugin.sock"

    @property
    def socket_path(self) -> Path:
        return self.socket or self.run_dir / "carrick.sock"


def load_config(path: Path | None, overrides: dict[str, Any]) -> Config:
    """Read the file, if one is given, and let `overrides` (None: not given) win.

    Keys may be written with `-` as in Docker's daemon.json. Raises InvalidRequest, naming the key.
    """
    found: dict[str, Any] = {}
    if path is not None:
        try:
            found = tomllib.loads(path.read_text())
        except OSError as error:
            raise InvalidRequest(f"configuration file {path}: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise InvalidRequest(f"configuration file {path}: {error}") from error
    found = {key.replace("-", "_"): value for key, value in found.items()}
    known = {item.name for item in fields(Config)}
    if unknown := sorted(found.keys() - known):
        raise InvalidRequest(
            f"configuration file {path}: unknown setting {unknown[0]}",
            remedy=f"known settings: {', '.join(sorted(known))}",
        )
    try:
        config = msgspec.convert(found, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"configuration file {path}: {error}", remedy=_choices(found)) from error
    return replace(config, **{key: value for key, value in overrides.items() if value is not None})


def _choices(found: dict[str, Any]) -> str | None:
    """Return what a setting may be that has a few values alone and was given another one."""
    for name, wanted in get_type_hints(Config).items():
        if get_origin(wanted) is Literal and name in found and found[name] not in get_args(wanted):
            return f"{name} is one of: {', '.join(get_args(wanted))}"
    return None


def _decode(wanted: type, value: Any) -> Any:
    if issubclass(wanted, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"no decoding for {wanted.__name__}")
