"""Parse flannel's `net-conf.json`, and say which routed network it asks for.

Where flannel's code and its documentation differ, the documentation is right here: without `Backend` it is
vxlan (the code takes the obsolete udp).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import MappingProxyType
from typing import Any

from ...model.errors import InvalidRequest, Unsupported
from ..ipam.blocks import SUBNET_LEN, SUBNET_MAX, SUBNET_MIN
from .hooks import KEYS, OPTIONS, Hooks

Prefix = IPv4Network | IPv6Network

_FEWEST_BITS = 2
"""flannel wants at least four subnets."""
_WIDEST = MappingProxyType({4: 28, 6: 124})
_LONGEST = MappingProxyType({4: 30, 6: 126})
_USUAL = MappingProxyType({4: 24, 6: 64})
_TOP = {"Network", "IPv6Network", "EnableIPv4", "EnableIPv6", "EnableNFTables", "SubnetLen", "SubnetMin"}
_TOP |= {"SubnetMax", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", "Backend"}
_KNOWN: Mapping[str, Mapping[str, type]] = MappingProxyType(
    {
        "vxlan": {"VNI": int, "Port": int, "GBP": bool, "DirectRouting": bool, "Learning": bool, "MTU": int}
        | {"MacPrefix": str},
        "host-gw": {},
        "wireguard": {"PSK": str, "ListenPort": int, "ListenPortV6": int, "MTU": int, "Mode": str}
        | {"PersistentKeepaliveInterval": int},
        "udp": {"Port": int},
        "ipip": {"DirectRouting": bool},
        "ipsec": {"PSK": str, "UDPEncap": bool, "ESPProposal": str},
        "alloc": {},
        "extension": {
            "PreStartupCommand": str,
            "PostStartupCommand": str,
            "SubnetAddCommand": str,
            "SubnetRemoveCommand": str,
            "ShutdownCommand": str,
        },
        "tencent-vpc": {"AccessKeyID": str, "AccessKeySecret": str},
    }
)
_DUAL_STACK = {"vxlan", "wireguard", "host-gw"}


@dataclass(frozen=True, slots=True)
class Backend:
    """flannel's backend by its own name, with its options as they stand in the file."""

    kind: str = "vxlan"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subnets:
    """How one family's network is divided: from the subnet `first` to `last`, all of `length`."""

    network: Prefix
    length: int
    first: Prefix
    last: Prefix


@dataclass(frozen=True, slots=True)
class NetConf:
    """A checked configuration. A family that is switched off is None."""

    ipv4: Subnets | None
    ipv6: Subnets | None
    backend: Backend
    nftables: bool = False

    def families(self) -> tuple[Subnets, ...]:
        return tuple(filter(None, (self.ipv4, self.ipv6)))


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """The routed network that a configuration asks for. `notes` say what of it is otherwise here."""

    subnets: tuple[str, ...]
    options: dict[str, str]
    notes: tuple[str, ...] = ()


def parse_net_conf(text: str) -> NetConf:
    """Parse a `net-conf.json`. InvalidRequest names the key, its value, and the rule."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"net-conf.json is no JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidRequest("net-conf.json must be an object")
    if unknown := sorted(raw.keys() - _TOP):
        raise InvalidRequest(
            f"net-conf.json: unknown key {unknown[0]}", remedy=f"known are {', '.join(sorted(_TOP))}"
        )
    backend = _parse_backend(raw.get("Backend"))
    with4, with6 = _get(raw, "EnableIPv4", bool, True), _get(raw, "EnableIPv6", bool, False)
    if not with4 and not with6:
        raise InvalidRequest("net-conf.json: EnableIPv4 and EnableIPv6 are both false")
    if with6 and backend.kind not in _DUAL_STACK:
        raise InvalidRequest(
            f"net-conf.json: backend {backend.kind} has no IPv6",
            remedy=f"use {', '.join(sorted(_DUAL_STACK))}",
        )
    return NetConf(
        _parse_subnets(raw, "", 4) if with4 else None,
        _parse_subnets(raw, "IPv6", 6) if with6 else None,
        backend,
        _get(raw, "EnableNFTables", bool, False),
    )


def _parse_backend(raw: object) -> Backend:
    if raw is None:
        return Backend()
    if not isinstance(raw, dict):
        raise InvalidRequest("net-conf.json: Backend must be an object")
    kind = _get(raw, "Type", str, "vxlan")
    known = _KNOWN.get(kind)
    if known is None:
        raise InvalidRequest(
            f"net-conf.json: unknown backend {kind}", remedy=f"flannel's are {', '.join(sorted(_KNOWN))}"
        )
    options = {key: value for key, value in raw.items() if key != "Type"}
    for key in options:
        if key not in known:
            raise InvalidRequest(
                f"net-conf.json: backend {kind} has no option {key}",
                remedy=f"it has {', '.join(known)}" if known else "it has none",
            )
        _get(options, key, known[key], None)
    for key, low, high in (("VNI", 1, 2**24 - 1), ("Port", 0, 65535), ("ListenPort", 0, 65535)):
        if key in options and not low <= options[key] <= high:
            raise InvalidRequest(f"net-conf.json: {key} {options[key]} is not between {low} and {high}")
    if options.get("Mode", "auto") not in {"separate", "auto", "ipv4", "ipv6"}:
        raise InvalidRequest(f"net-conf.json: Mode {options['Mode']} is none of separate, auto, ipv4, ipv6")
    return Backend(kind, options)


def _get(raw: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = raw.get(key, default)
    # A bool is an int in Python, and is none in JSON.
    if key in raw and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        words = {bool: "true or false", int: "a whole number", str: "text"}
        raise InvalidRequest(f"net-conf.json: {key} must be {words[kind]}, not {json.dumps(value)}")
    return value


def _parse_subnets(raw: Mapping[str, Any], family: str, version: int) -> Subnets:
    """Parse one family's keys, and apply flannel's rules and defaults to them."""
    key = f"{family}Network"
    text = _get(raw, key, str, "")
    if not text:
        raise InvalidRequest(f"net-conf.json: {key} is missing")
    network = _prefix(key, text, version)
    if network.prefixlen > _WIDEST[version]:
        raise InvalidRequest(f"net-conf.json: {key} {network} is smaller than /{_WIDEST[version]}")
    usual = _USUAL[version]
    fallback = usual if network.prefixlen + _FEWEST_BITS <= usual else network.prefixlen + _FEWEST_BITS
    length = _get(raw, f"{family}SubnetLen", int, fallback) or fallback
    if not network.prefixlen + _FEWEST_BITS <= length <= _LONGEST[version]:
        raise InvalidRequest(
            f"net-conf.json: {family}SubnetLen {length} is not between "
            f"{network.prefixlen + _FEWEST_BITS} and {_LONGEST[version]}: "
            f"{network} must hold at least four subnets"
        )
    size = 1 << (network.max_prefixlen - length)
    base = int(network.network_address)
    # The first subnet is never used.
    edges = {"Min": base + size, "Max": base + network.num_addresses - size}
    found = {}
    for edge, otherwise in edges.items():
        name = f"{family}Subnet{edge}"
        asked = _get(raw, name, str, "")
        address = _address(name, asked, version) if asked else otherwise
        if not base <= address < base + network.num_addresses:
            raise InvalidRequest(f"net-conf.json: {name} {asked} is not in {network}")
        if address % size:
            raise InvalidRequest(f"net-conf.json: {name} {asked} is not the beginning of a /{length}")
        found[edge] = address
    if found["Min"] > found["Max"]:
        raise InvalidRequest(f"net-conf.json: {family}SubnetMin is behind {family}SubnetMax")
    made = [ip_network((network.network_address + (found[edge] - base), length)) for edge in found]
    return Subnets(network, length, made[0], made[1])


def _prefix(key: str, text: str, version: int) -> Prefix:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise InvalidRequest(f"net-conf.json: {key} {text} is no network") from None
    if network.version != version:
        raise InvalidRequest(f"net-conf.json: {key} {text} is not IPv{version}")
    return network


def _address(key: str, text: str, version: int) -> int:
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidRequest(f"net-conf.json: {key} {text} is no address") from None
    if address.version != version:
        raise InvalidRequest(f"net-conf.json: {key} {text} is not IPv{version}")
    return int(address)


_BACKENDS = MappingProxyType(
    {
        "vxlan": "vxlan",
        "host-gw": "direct",
        "wireguard": "wireguard",
        "extension": "extension",
        # It gives subnets and leads nowhere: an extension without commands.
        "alloc": "extension",
    }
)
_INSTEAD = MappingProxyType(
    {
        "udp": "use vxlan, which goes through the same firewalls, or wireguard",
        "ipip": "use vxlan, with DirectRouting for nodes on one segment, or host-gw",
        "ipsec": "use wireguard: each node has a key of its own, and no PSK is needed",
        "tencent-vpc": "use extension, with commands that write the cloud's routes",
    }
)
_VNI = "com.docker.network.driver.overlay.vxlanid_list"
_MTU = "com.docker.network.driver.mtu"


def request_of(conf: NetConf) -> NetworkRequest:
    """Return the routed network for a configuration; Unsupported for a backend that is not here."""
    kind, given = conf.backend.kind, conf.backend.options
    notes: list[str] = []
    if kind not in _BACKENDS:
        raise Unsupported(f"flannel's backend {kind} is not there", remedy=_INSTEAD[kind])
    options = {"backend": _BACKENDS[kind]}
    for item in fields_of(Hooks):
        if command := given.get(KEYS[item.name], ""):
            options[OPTIONS[item.name]] = command
    if any(key in options for key in OPTIONS.values()):
        notes.append("its commands run as root, on hosts whose carrickd.toml says allow_hooks = true")
    for family in conf.families():
        version = family.network.version
        options[SUBNET_LEN[version]] = str(family.length)
        options[SUBNET_MIN[version]] = str(family.first.network_address)
        options[SUBNET_MAX[version]] = str(family.last.network_address)
    if given.get("DirectRouting"):
        options["cross-subnet"] = "true"
    if "VNI" in given:
        options[_VNI] = str(given["VNI"])
    if given.get("MTU"):
        options[_MTU] = str(given["MTU"])
    if given.get("Port") not in (None, 0, 4789):
        notes.append(f"Port {given['Port']}: VXLAN is at 4789 here")
    for key in ("GBP", "Learning"):
        if given.get(key):
            notes.append(f"{key} is not used: where everything is, is known")
    if "PSK" in given:
        notes.append("PSK is not used: each node has a key of its own")
    for key in ("ListenPort", "ListenPortV6", "PersistentKeepaliveInterval"):
        if given.get(key):
            notes.append(f"{key} is not used: WireGuard is the node's, for all its networks")
    if "MacPrefix" in given:
        notes.append("MacPrefix is not used: MAC addresses follow from the nodes' identities")
    if conf.nftables:
        notes.append("EnableNFTables is not used: it is nftables here")
    return NetworkRequest(
        tuple(str(family.network) for family in conf.families()),
        options,
        tuple(notes),
    )
