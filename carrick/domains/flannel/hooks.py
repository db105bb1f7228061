"""The hooks of flannel's backend `extension`: which command runs when, with what. Pure.

flannel's rules (`pkg/backend/extension`): what PreStartupCommand prints is published with the node's subnets,
and is what the commands of the others get on standard input when they hear of those. Only the first two are
vital: a node without them has no network. A failed SubnetAddCommand or SubnetRemoveCommand is logged, and not
tried again until something about the subnet changes.

One difference: a container engine that is restarted leaves containers running, so ShutdownCommand runs when
the network leaves the host, and not when the daemon ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from ...model.networks import Network

_PREFIX = "carrick.flannel."


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands of flannel's `extension` backend, for `sh -c`; "" for none."""

    before: str = ""
    after: str = ""
    added: str = ""
    removed: str = ""
    shutdown: str = ""

    def __bool__(self) -> bool:
        return any(getattr(self, item.name) for item in fields(self))


KEYS: Mapping[str, str] = MappingProxyType(
    {
        "before": "PreStartupCommand",
        "after": "PostStartupCommand",
        "added": "SubnetAddCommand",
        "removed": "SubnetRemoveCommand",
        "shutdown": "ShutdownCommand",
    }
)
"""What flannel calls each of them."""

OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "before": f"{_PREFIX}pre-startup-command",
        "after": f"{_PREFIX}post-startup-command",
        "added": f"{_PREFIX}subnet-add-command",
        "removed": f"{_PREFIX}subnet-remove-command",
        "shutdown": f"{_PREFIX}shutdown-command",
    }
)
"""The options of a network that hold them."""


def hooks_of(network: Network) -> Hooks:
    """Return the commands of a network; a false value if it has none."""
    return Hooks(**{name: network.options.get(option, "") for name, option in OPTIONS.items()})


@dataclass(frozen=True, slots=True)
class Subnet:
    """A node's part of a network, as hooks hear of it. `data` is what its PreStartupCommand printed."""

    prefix: str
    public_ip: str = ""
    public_ipv6: str = ""
    data: str = ""

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.prefix

    def environment(self) -> dict[str, str]:
        """Return what the command's environment has of it, in flannel's names."""
        found = {"IPV6SUBNET" if self.is_ipv6 else "SUBNET": self.prefix}
        found |= {"PUBLIC_IP": self.public_ip} if self.public_ip else {}
        found |= {"PUBLIC_IPV6": self.public_ipv6} if self.public_ipv6 else {}
        return found


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command. `name` is flannel's name of the hook; standard input ends with a newline."""

    name: str
    command: str
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: str = "\n"


@dataclass(frozen=True, slots=True)
class Following:
    """What is to be run to follow the other nodes, and what is known of them after that."""

    runs: tuple[Run, ...] = ()
    known: Mapping[str, Subnet] = field(default_factory=dict)


def plan_before(hooks: Hooks) -> Run | None:
    return Run(KEYS["before"], hooks.before) if hooks.before else None


def plan_after(hooks: Hooks, network: str, own: Subnet) -> Run | None:
    """Return the run for a subnet that this node has got."""
    if not hooks.after:
        return None
    word = "IPV6NETWORK" if own.is_ipv6 else "NETWORK"
    return Run(KEYS["after"], hooks.after, {word: network, **own.environment()})


def plan_following(hooks: Hooks, wanted: Mapping[str, Subnet], known: Mapping[str, Subnet]) -> Following:
    """Return the runs for subnets of other nodes that went, and for those that came or changed.

    One that changed is added anew, as in flannel: nothing says that it went. What went is told first, because
    its subnet may be another node's by now.
    """
    runs = []
    for key in sorted(known.keys() - wanted.keys()):
        if hooks.removed:
            runs.append(_about(KEYS["removed"], hooks.removed, known[key]))
    for key in sorted(wanted):
        if wanted[key] != known.get(key) and hooks.added:
            runs.append(_about(KEYS["added"], hooks.added, wanted[key]))
    return Following(tuple(runs), dict(wanted))


def plan_shutdown(hooks: Hooks) -> Run | None:
    return Run(KEYS["shutdown"], hooks.shutdown) if hooks.shutdown else None


def _about(name: str, command: str, subnet: Subnet) -> Run:
    return Run(name, command, subnet.environment(), f"{subnet.data}\n")
