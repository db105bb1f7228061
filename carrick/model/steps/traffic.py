"""What else decides how packets go: rates, shortcuts, announcements, sysctls, nftables, known flows."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from .namespaces import inside


@dataclass(frozen=True, slots=True)
class SetRate:
    """Let no more than `rate` bits per second leave a link, but for bursts of `burst` bits (a token bucket).

    `burst` 0 is as much as the kernel needs to reach the rate.
    """

    link: str
    rate: int
    burst: int = 0
    netns: str = ""

    def describe(self) -> str:
        burst = f" burst {self.burst // 8}b" if self.burst else ""
        limit = f"rate {self.rate}bit{burst} latency 25ms"
        return f"{inside(self.netns)}tc qdisc replace dev {self.link} root tbf {limit}"


@dataclass(frozen=True, slots=True)
class SetShortcut:
    """Have what goes by a VXLAN device pass its network's bridge by: see `host.kernel.bpf`.

    The device is one of the bridge's ports; or, with `subnet`, packets are routed between the two, and those
    from one address of the subnet to another pass the host's forwarding by.

    What its FDB says is copied to where the kernel looks first, and is kept in step with it from then on. A
    kernel that refuses is told of in the log, and everything goes the plain way.
    """

    tunnel: str
    bridge: str
    subnet: IPv4Network | None = None

    def describe(self) -> str:
        return f"bpftool net attach tcx_ingress name carrick-receive dev {self.tunnel}"


@dataclass(frozen=True, slots=True)
class AddShortcut:
    """Let a container's link, by its end on the host, take part in the shortcut of `tunnel`, if there is one.

    `mac` is the container's end's, `address` the container's IPv4 address where packets are routed to it.
    """

    tunnel: str
    port: str
    mac: str
    address: str = ""

    def describe(self) -> str:
        return f"bpftool net attach tcx_ingress name carrick-send dev {self.port}"


@dataclass(frozen=True, slots=True)
class RemoveShortcut:
    """Have all that goes by a VXLAN device, and by the ports of its network's bridge, go the plain way."""

    tunnel: str
    bridge: str

    def describe(self) -> str:
        return f"bpftool net detach tcx_ingress dev {self.tunnel}"


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the neighbours once more where addresses are: by ARP, or by a neighbour advertisement."""

    link: str
    mac: str
    addresses: tuple[str, ...]
    netns: str = ""

    def describe(self) -> str:
        return f"{inside(self.netns)}arping -U -c 1 -I {self.link} {' '.join(self.addresses)}"


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """Write one sysctl. `key` is dotted, with `/` inside an interface name that contains dots."""

    key: str
    value: str
    netns: str = ""
    optional: bool = False

    def describe(self) -> str:
        return f"{inside(self.netns)}sysctl -w {self.key}={self.value}"


@dataclass(frozen=True, slots=True)
class Nft:
    """One nftables transaction: all of `commands` or none."""

    commands: tuple[str, ...]

    def describe(self) -> str:
        return "nft -f - <<< '" + "; ".join(self.commands) + "'"


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Delete conntrack entries, so that flows made before a change follow it (UDP lives on).

    Matches `protocol` and the original destination port, in IP `version` 4 or 6.
    """

    protocol: str
    port: int
    version: int = 4

    def describe(self) -> str:
        return f"conntrack -D -f ipv{self.version} -p {self.protocol} --orig-port-dst {self.port}"
