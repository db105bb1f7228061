"""flannel's `subnet.env`: what tools and people read to learn of this node's part of a network."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from types import MappingProxyType

from ...model.errors import InvalidRequest
from ...model.networks import IPNetwork


@dataclass(frozen=True, slots=True)
class SubnetEnv:
    """A node's subnets by family (None: no such one), the MTU, and whether the network masquerades itself."""

    network4: IPNetwork | None
    subnet4: IPNetwork | None
    mtu: int
    masquerades: bool
    network6: IPNetwork | None = None
    subnet6: IPNetwork | None = None


def render_subnet_env(env: SubnetEnv) -> str:
    """Return the file's text, in flannel's order. The subnet is shown by its first usable address."""
    lines = []
    for infix, network, subnet in (("", env.network4, env.subnet4), ("IPV6_", env.network6, env.subnet6)):
        if network is not None and subnet is not None:
            lines += [f"FLANNEL_{infix}NETWORK={network}"]
            lines += [f"FLANNEL_{infix}SUBNET={subnet.network_address + 1}/{subnet.prefixlen}"]
    lines += [f"FLANNEL_MTU={env.mtu}", f"FLANNEL_IPMASQ={str(env.masquerades).lower()}"]
    return "\n".join(lines) + "\n"


def parse_subnet_env(text: str) -> SubnetEnv:
    """Parse a `subnet.env`, flannel's or ours; InvalidRequest names what is wrong with it."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = shlex.split(line, comments=True)
        if not words:
            continue
        key, equals, value = words[0].partition("=")
        if not equals or len(words) > 1:
            raise InvalidRequest(f"subnet.env, line {number}: {line!r} is no KEY=VALUE")
        found[key] = value
    networks: dict[str, IPNetwork | None] = {}
    for key in ("NETWORK", "SUBNET", "IPV6_NETWORK", "IPV6_SUBNET"):
        value = found.get(f"FLANNEL_{key}", "")
        try:
            if key.endswith("SUBNET"):
                networks[key] = ip_interface(value).network if value else None
            else:
                networks[key] = ip_network(value) if value else None
        except ValueError:
            raise InvalidRequest(f"subnet.env: FLANNEL_{key}={value} is no network") from None
    mtu = found.get("FLANNEL_MTU", "1500")
    if not (mtu.isascii() and mtu.isdigit()):
        raise InvalidRequest(f"subnet.env: FLANNEL_MTU={mtu} is no number")
    return SubnetEnv(
        networks["NETWORK"],
        networks["SUBNET"],
        int(mtu),
        found.get("FLANNEL_IPMASQ", "false") == "true",
        networks["IPV6_NETWORK"],
        networks["IPV6_SUBNET"],
    )


def docker_options(env: SubnetEnv) -> tuple[str, ...]:
    """Return the options that give a Docker Engine the node's subnet (as flannel's `mk-docker-opts.sh`)."""
    options = []
    if env.subnet4 is not None:
        options.append(f"--bip={env.subnet4.network_address + 1}/{env.subnet4.prefixlen}")
    if env.subnet6 is not None:
        options += ["--ipv6", f"--fixed-cidr-v6={env.subnet6}"]
    # Only one of the two may: Docker's would hide containers from each other across hosts.
    options += [f"--ip-masq={str(not env.masquerades).lower()}", f"--mtu={env.mtu}"]
    return tuple(options)


_NAMES = MappingProxyType(
    {
        "--bip": "BIP",
        "--ipv6": "IPV6",
        "--fixed-cidr-v6": "FIXED_CIDR_V6",
        "--ip-masq": "IPMASQ",
        "--mtu": "MTU",
    }
)


def render_docker_env(options: Iterable[str]) -> str:
    """Return Docker's options as `mk-docker-opts.sh` writes them, for a unit's `EnvironmentFile=`."""
    given = list(options)
    lines = [f'DOCKER_OPT_{_NAMES[text.partition("=")[0]]}="{text}"' for text in given]
    return "\n".join([*lines, f'DOCKER_OPTS=" {" ".join(given)} "']) + "\n"
