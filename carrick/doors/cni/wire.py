"""The JSON of CNI, as it is written: configurations, results, what runtimes add. Pure.

Field names are the specification's. What is not of the type that stands here is refused by whoever decodes;
what these types do not name is left out.
"""

from typing import Any

import msgspec


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    pass


class Interface(_Wire, frozen=True, kw_only=True):
    """`sandbox` is the path of its namespace, "" on the host."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = msgspec.field(default="", name="pciID")


class Address(_Wire, frozen=True, kw_only=True):
    """`interface` is an index in the list of interfaces. `version` is "4" or "6" up to 0.4.0."""

    version: str = ""
    address: str
    gateway: str = ""
    interface: int | None = None


class Route(_Wire, frozen=True, kw_only=True):
    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class Dns(_Wire, frozen=True, kw_only=True):
    nameservers: list[str] = []
    domain: str = ""
    search: list[str] = []
    options: list[str] = []


class Result(_Wire, frozen=True, kw_only=True):
    """What ADD ends in. Lists may be null, which some plugins write for an empty one."""

    cni_version: str = ""
    interfaces: list[Interface] | None = None
    ips: list[Address] | None = None
    routes: list[Route] | None = None
    dns: Dns = Dns()


class PortMapping(_Wire, frozen=True, kw_only=True):
    """Podman's and libcni's `hostPort` 0 means that the port is not published."""

    container_port: int
    host_port: int = 0
    protocol: str = "tcp"
    host_ip: str = msgspec.field(default="", name="hostIP")


class Rates(_Wire, frozen=True, kw_only=True):
    """Bits per second and bits."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class Range(_Wire, frozen=True, kw_only=True):
    subnet: str
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


class RuntimeDns(_Wire, frozen=True, kw_only=True):
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []


class RuntimeConfig(_Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the runtime adds for the `capabilities` that a configuration claims. `aliases` are a list; Podman
    gives them by network."""

    port_mappings: list[PortMapping] | None = None
    bandwidth: Rates | None = None
    ips: list[str] | None = None
    ip_ranges: list[list[Range]] | None = None
    mac: str = ""
    dns: RuntimeDns | None = None
    aliases: list[str] | dict[str, list[str]] | None = None


class CniArgs(_Wire, frozen=True, kw_only=True):
    """`args.cni` (conventions of CNI): what whoever wrote the configuration asks for."""

    ips: list[str] | None = None
    mac: str = ""


class Args(_Wire, frozen=True, kw_only=True):
    cni: CniArgs | None = None


class Subnet(_Wire, frozen=True, kw_only=True):
    subnet: str
    ip_range: str = ""
    gateway: str = ""


class Create(_Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to create the network that is not there yet."""

    driver: str = "bridge"
    subnet: str = ""
    subnets: list[Subnet] = []
    ipv4: bool | None = None
    ipv6: bool | None = None
    internal: bool = False
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


class IpamRoute(_Wire, frozen=True, kw_only=True):
    dst: str
    gw: str = ""


class Ipam(_Wire, frozen=True, kw_only=True):
    """`type` "" or "carrick" is ours; any other names a plugin, to which the rest is said."""

    type: str = ""
    routes: list[IpamRoute] | None = None


class Attachment(_Wire, frozen=True, kw_only=True):
    container_id: str = msgspec.field(name="containerID")
    ifname: str


class NetConf(_Wire, frozen=True, kw_only=True):
    """A plugin's configuration as it comes on standard input. `prev_result` is in the same version."""

    cni_version: str = ""
    name: str = ""
    type: str = ""
    network: str = ""
    create: Create | None = None
    is_default_gateway: bool | None = None
    ip_masq: bool | None = None
    mtu: int = 0
    ipam: Ipam = Ipam()
    dns: Dns = Dns()
    args: Args | None = None
    runtime_config: RuntimeConfig | None = None
    prev_result: Result | None = None
    capabilities: dict[str, Any] | None = None
    daemon_socket: str = ""
    valid_attachments: list[Attachment] | None = msgspec.field(default=None, name="cni.dev/valid-attachments")
    attachments: list[Attachment] | None = msgspec.field(default=None, name="cni.dev/attachments")


KNOWN_FIELDS = frozenset(NetConf.__struct_encode_fields__)
CAPABILITIES = frozenset(RuntimeConfig.__struct_encode_fields__)
