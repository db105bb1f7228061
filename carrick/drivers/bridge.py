"""The bridge driver: a Linux bridge per network, a veth pair per endpoint, the host as gateway.

The rules follow moby's bridge driver option by option (docs/reference/network-options.md); the differences
are meant: the MTU follows the route that traffic takes, interface names follow the order of connection, and
ICC off works without br_netfilter.
"""

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface

from ..domains.dns.zone import LOCAL_FIRST, parse_local_first
from ..domains.firewall import NetworkRules, render_isolate, render_release
from ..domains.firewall.wanted import ISOLATED, NAT, NAT_UNPROTECTED, ROUTED
from ..domains.sandboxes.interfaces import (
    IFNAME_OPTION,
    SYSCTLS_OPTION,
    check_interface_name,
    choose_mac,
    host_interface,
    parse_mac,
    parse_sysctls,
)
from ..model.errors import Conflict, Denied, InvalidRequest
from ..model.ids import short
from ..model.networks import Endpoint, Network, Sandbox
from ..model.observed import LinkState, NamespaceState
from ..model.steps import (
    AddAddress,
    CreateBridge,
    CreateVeth,
    DeleteLink,
    Nft,
    Plan,
    RemoveAddress,
    SetLink,
    SetSysctl,
    Step,
)
from .contract import Announcements, DriverCapabilities, HostView

_PREFIX, _OUR_PREFIX = "com.docker.network.", "carrick."
NAME = _PREFIX + "bridge.name"
MASQUERADE = _PREFIX + "bridge.enable_ip_masquerade"
ICC = _PREFIX + "bridge.enable_icc"
MODE4 = _PREFIX + "bridge.gateway_mode_ipv4"
MODE6 = _PREFIX + "bridge.gateway_mode_ipv6"
BINDING = _PREFIX + "bridge.host_binding_ipv4"
INHIBIT4 = _PREFIX + "bridge.inhibit_ipv4"
TRUSTED = _PREFIX + "bridge.trusted_host_interfaces"
DEFAULT_BRIDGE = _PREFIX + "bridge.default_bridge"
MTU = _PREFIX + "driver.mtu"
INTERFACE_PREFIX = _PREFIX + "container_iface_prefix"
HOST4 = _PREFIX + "host_ipv4"
HOST6 = _PREFIX + "host_ipv6"
ENABLE4 = _PREFIX + "enable_ipv4"
ENABLE6 = _PREFIX + "enable_ipv6"
ADVERTISE_COUNT = _PREFIX + "advertise_addr_nmsgs"
ADVERTISE_MS = _PREFIX + "advertise_addr_ms"
OPTIONS = frozenset(
    {NAME, MASQUERADE, ICC, MODE4, MODE6, BINDING, INHIBIT4, TRUSTED, DEFAULT_BRIDGE, MTU, INTERFACE_PREFIX}
    | {HOST4, HOST6, ENABLE4, ENABLE6, ADVERTISE_COUNT, ADVERTISE_MS}
)
_MODES = {NAT, NAT_UNPROTECTED, ROUTED, ISOLATED}
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """A bridge network's options, parsed. `mtu` 0 means that of the route to the outside."""

    name: str
    masquerade: bool = True
    icc: bool = True
    mode4: str = NAT
    mode6: str = NAT
    host_binding: str = ""
    inhibit_ipv4: bool = False
    trusted: tuple[str, ...] = ()
    mtu: int = 0
    interface_prefix: str = "eth"
    host_ipv4: str = ""
    host_ipv6: str = ""
    announcements: Announcements = Announcements()  # noqa: RUF009  frozen


def _parse_bool(options: dict[str, str], key: str, default: bool) -> bool:
    value = options.get(key)
    if value is None or value == "":
        return default
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidRequest(
        f'failed to parse {key} value: {value} (strconv.ParseBool: parsing "{value}": invalid syntax)'
    )


def _parse_mode(options: dict[str, str], key: str, internal: bool) -> str:
    mode = options.get(key) or NAT
    if mode not in _MODES:
        raise InvalidRequest(f"unknown gateway mode {mode}")
    if mode == ISOLATED and not internal:
        raise InvalidRequest("gateway mode 'isolated' can only be used for an internal network")
    return mode


def _parse_number(options: dict[str, str], key: str, low: int, high: int, default: int) -> int:
    value = options.get(key)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise InvalidRequest(f"failed to parse {key} value: {value} (it must be a number)")
    number = int(value)
    if not low <= number <= high:
        raise InvalidRequest(f"{key} must be in the range {low} to {high}, not {number}")
    return number


def _parse_address(options: dict[str, str], key: str, version: int) -> str:
    value = options.get(key, "")
    if not value:
        return ""
    try:
        address = ip_address(value)
    except ValueError:
        raise InvalidRequest(f"{key}: {value} is not an IP address") from None
    if (version and address.version != version) or "%" in value:
        raise InvalidRequest(f"{key}: {value} is not an IPv{version or 4} address")
    return str(address)


def refuse_unknown(network: Network, own: frozenset[str]) -> None:
    """Raise InvalidRequest for an option that is neither a bridge's nor the driver's `own`.

    With Docker it would do nothing. But who writes `encryptd` must not believe that it is encrypted. What has
    somebody else's prefix may be for another program to read.
    """
    known = own | OPTIONS | {LOCAL_FIRST}
    for key in sorted(network.options.keys() - known):
        if "." not in key or key.startswith(_OUR_PREFIX):
            plain = sorted(item for item in known if not item.startswith(_PREFIX))
            raise InvalidRequest(
                f"unknown option {key} of driver {network.driver}",
                remedy=f"known are {', '.join(plain)}, and those of a bridge network",
            )


def parse_options(network: Network) -> BridgeOptions:
    """Parse the options of a bridge network; InvalidRequest names the option and its value."""
    options = network.options
    if unknown := sorted(key for key in options if key.startswith(_PREFIX) and key not in OPTIONS):
        raise InvalidRequest(f"unknown bridge option {unknown[0]}; known are {', '.join(sorted(OPTIONS))}")
    announcements = Announcements(
        _parse_number(options, ADVERTISE_COUNT, 0, 3, 3),
        _parse_number(options, ADVERTISE_MS, 100, 2000, 1000) / 1000,
    )
    trusted = tuple(filter(None, options.get(TRUSTED, "").split(":")))
    return BridgeOptions(
        name=check_interface_name(options.get(NAME) or f"br-{short(network.id)}"),
        masquerade=_parse_bool(options, MASQUERADE, True),
        icc=_parse_bool(options, ICC, True),
        mode4=_parse_mode(options, MODE4, network.internal),
        mode6=_parse_mode(options, MODE6, network.internal),
        host_binding=_parse_address(options, BINDING, 0),
        inhibit_ipv4=_parse_bool(options, INHIBIT4, False),
        trusted=tuple(check_interface_name(name) for name in trusted),
        mtu=_parse_number(options, MTU, 68, 65535, 0),
        interface_prefix=_check_prefix(options.get(INTERFACE_PREFIX) or "eth"),
        host_ipv4=_parse_address(options, HOST4, 4),
        host_ipv6=_parse_address(options, HOST6, 6),
        announcements=announcements,
    )


def _check_prefix(prefix: str) -> str:
    if len(prefix) > 12:
        raise InvalidRequest(f"{INTERFACE_PREFIX} {prefix!r} is longer than 12 characters")
    return check_interface_name(prefix)


def bridge_alias(network: Network, host: HostView) -> str:
    """Return the mark that makes a bridge ours; a bridge without it is never changed or deleted."""
    return f"{host.mark}{network.id}"


class BridgeDriver:
    """Implements `Driver` with a Linux bridge."""

    name = "bridge"
    capabilities = DriverCapabilities(published=True, gateway=True)

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        options = parse_options(network)
        # Of use where a network spans hosts, whose drivers ask this one.
        parse_local_first(network.options)
        for version in (4, 6):
            if sum(pool.version == version for pool in network.pools) > 1:
                raise Denied("bridge driver doesn't support multiple subnets")
        for other in others:
            if other.driver != self.name or other.id == network.id:
                continue
            their_bridge = other.options.get(NAME) or f"br-{short(other.id)}"
            if their_bridge == options.name:
                raise Denied(
                    f"cannot create network {network.id} ({options.name}): conflicts with network "
                    f"{other.id} ({their_bridge}): networks have same bridge name"
                )
            for mine in network.pools:
                if any(mine.version == p.version and mine.network.overlaps(p.network) for p in other.pools):
                    raise Denied(
                        f"cannot create network {network.id} ({options.name}): conflicts with network "
                        f"{other.id} ({their_bridge}): networks have overlapping IPv{mine.version}"
                    )
        existing = host.state.links.get(options.name)
        if existing is not None and existing.kind != "bridge":
            raise Conflict(
                f"{options.name} exists on this host and is no bridge but a {existing.kind or 'device'}",
                remedy=f"choose another name with -o {NAME}=…",
            )
        return network

    # Networks --------------------------------------------------------------------------------

    def plan_network(self, network: Network, host: HostView) -> Plan:
        options = parse_options(network)
        mtu = options.mtu or host.mtu
        link = host.state.links.get(options.name)
        steps: list[Step] = []
        notes: list[str] = []
        if link is None:
            mac = choose_mac(f"bridge {network.id}")
            steps.append(CreateBridge(options.name, bridge_alias(network, host), mtu, mac))
        elif self._is_foreign(link, network, host):
            notes.append(f"bridge {options.name} exists already; it is used as it is and never deleted")
            if not link.up:
                steps.append(SetLink(options.name, up=True))
        else:
            if link.mtu != mtu or not link.up:
                steps.append(SetLink(options.name, mtu=mtu, up=True))
            if link.alias != bridge_alias(network, host):
                steps.append(SetLink(options.name, alias=bridge_alias(network, host)))
        steps += self._plan_sysctls(network, options, link, host)
        steps += self._plan_addresses(network, options, link, host)
        return Plan(tuple(steps), tuple(notes))

    @staticmethod
    def _is_foreign(link: LinkState, network: Network, host: HostView) -> bool:
        """A bridge without our mark: someone's, unless its name could only be ours.

        One with the mark of a network that is no more is ours to take over.
        """
        return not link.alias.startswith(host.mark) and link.name != f"br-{short(network.id)}"

    def _plan_sysctls(
        self, network: Network, options: BridgeOptions, link: LinkState | None, host: HostView
    ) -> list[Step]:
        wanted: dict[str, str] = {}
        if network.enable_ipv4 and not network.internal:
            # For ports published on 127.0.0.1; the firewall keeps containers off the host's loopback.
            wanted["ipv4.route_localnet"] = "1"
        if link is None or not self._is_foreign(link, network, host):
            # Containers must not be able to give the host a default route.
            wanted["ipv6.accept_ra"] = "0"
            wanted["ipv6.disable_ipv6"] = "0" if network.enable_ipv6 else "1"
        steps: list[Step] = []
        for key, value in wanted.items():
            # What a bridge that is there does not show, this kernel does not have.
            if link is None or link.sysctls.get(key, value) != value:
                family, _, setting = key.partition(".")
                path = f"net.{family}.conf.{options.name.replace('.', '/')}.{setting}"
                steps.append(SetSysctl(path, value, optional=family == "ipv6" and not network.enable_ipv6))
        return steps

    def _plan_addresses(
        self, network: Network, options: BridgeOptions, link: LinkState | None, host: HostView
    ) -> list[Step]:
        wanted = self._bridge_addresses(network, options)
        present = set(link.addresses) if link else set()
        steps: list[Step] = []
        if link is not None and not self._is_foreign(link, network, host):
            stale = sorted(
                item for item in present if item not in wanted and not ip_interface(item).is_link_local
            )
            steps += [RemoveAddress(options.name, address) for address in stale]
            # With the first address of a subnet the kernel removes the others: those are put again.
            subnets = {ip_interface(item).network for item in stale}
            present -= {item for item in wanted if ip_interface(item).network in subnets}
        return steps + [AddAddress(options.name, address) for address in wanted if address not in present]

    @staticmethod
    def _bridge_addresses(network: Network, options: BridgeOptions) -> list[str]:
        addresses = []
        for pool in network.pools:
            mode = options.mode6 if pool.version == 6 else options.mode4
            if mode == ISOLATED or not pool.gateway or (pool.version == 4 and options.inhibit_ipv4):
                continue
            addresses.append(f"{ip_address(pool.gateway)}/{pool.network.prefixlen}")
        return addresses

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        options = parse_options(network)
        link = host.state.links.get(options.name)
        if link is None:
            return Plan()
        if link.alias != bridge_alias(network, host) and self._is_foreign(link, network, host):
            # Its address too: it may be the one by which somebody reaches this host.
            return Plan(notes=(f"bridge {options.name} was there before the network and stays as it is",))
        return Plan((DeleteLink(options.name),))

    # Endpoints -------------------------------------------------------------------------------

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        options = parse_options(network)
        interface = choose_interface(endpoint, options.interface_prefix)
        pool4, pool6 = network.pool(4), network.pool(6)
        return replace(
            endpoint,
            interface=interface,
            host_interface=host_interface(endpoint.id),
            mac_address=choose_endpoint_mac(endpoint),
            gateway4=_container_gateway(network, pool4.gateway if pool4 else "", options.mode4, 4),
            gateway6=_container_gateway(network, pool6.gateway if pool6 else "", options.mode6, 6),
        )

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        options = parse_options(network)
        mtu = options.mtu or host.mtu
        outer = host.state.links.get(endpoint.host_interface)
        inner = inside.links.get(endpoint.interface)
        alias = f"{host.mark}{endpoint.id}"
        steps: list[Step] = []
        if outer is None or inner is None or inner.peer_index != outer.index:
            if outer is not None:
                steps.append(DeleteLink(endpoint.host_interface))
            if inner is not None:
                steps.append(DeleteLink(endpoint.interface, netns=sandbox.netns))
            inner = None
            if not options.icc:
                # Before there is a link to isolate: cut anywhere, none is ever in the bridge without.
                steps.append(Nft(tuple(render_isolate(host.table, [endpoint.host_interface]))))
            steps.append(
                CreateVeth(
                    name=endpoint.host_interface,
                    alias=alias,
                    mtu=mtu,
                    master=options.name,
                    peer=endpoint.interface,
                    peer_netns=sandbox.netns,
                    peer_mac=endpoint.mac_address,
                    # Where br_netfilter is loaded (Docker and Kubernetes do), a container's own published
                    # port is translated on the bridge, and the frame has to go back where it came from.
                    hairpin=True,
                )
            )
        elif (outer.master, outer.up, outer.mtu, outer.alias) != (options.name, True, mtu, alias):
            steps.append(SetLink(endpoint.host_interface, master=options.name, up=True, mtu=mtu, alias=alias))
        return Plan(
            tuple(steps)
            + plan_inside(endpoint, sandbox.netns, inner, mtu, announces=options.announcements.count > 0)
        )

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        options = parse_options(network)
        steps: list[Step] = [DeleteLink(endpoint.host_interface, wait=False)]
        if not options.icc:
            steps.append(Nft(tuple(render_release(host.table, [endpoint.host_interface]))))
        return Plan(tuple(steps))

    def announcements(self, network: Network) -> Announcements:
        return parse_options(network).announcements

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        options = parse_options(network)
        return NetworkRules(
            key=short(network.id),
            bridge=options.name,
            subnets=tuple(pool.network for pool in network.pools),
            internal=network.internal,
            inter_container=options.icc,
            masquerade=options.masquerade,
            mode4=options.mode4,
            mode6=options.mode6,
            snat4=options.host_ipv4,
            snat6=options.host_ipv6,
            trusted_interfaces=options.trusted,
        )


def _container_gateway(network: Network, gateway: str, mode: str, version: int) -> str:
    """Return what containers use as default gateway, "" for none (internal networks)."""
    if network.internal or mode == ISOLATED:
        return ""
    pool = network.pool(version)
    auxiliary = pool.aux_addresses.get(f"DefaultGatewayIPv{version}", "") if pool else ""
    return auxiliary or gateway


def plan_inside(
    endpoint: Endpoint, netns: str, link: LinkState | None, mtu: int, *, announces: bool = True
) -> tuple[Step, ...]:
    """Return the steps within a sandbox for one endpoint's interface: sysctls, addresses, up.

    `link` is the interface as it is, None if it is being made. Without `announces` the kernel does not tell
    the neighbours. Shared by all drivers with addresses.
    """
    name = endpoint.interface
    steps: list[Step] = []
    wanted = [address for address in (endpoint.ipv4, endpoint.ipv6, *_link_local(endpoint)) if address]
    # Coming up is the last step: while the link is down, what came before it may be missing.
    if link is None or not link.up:
        dotted = name.replace(".", "/")
        with_ipv6 = any(":" in address for address in wanted)
        # Without an IPv6 address of ours there should be none at all, not a link-local one unknown to us.
        steps.append(
            SetSysctl(
                f"net.ipv6.conf.{dotted}.disable_ipv6",
                "0" if with_ipv6 else "1",
                netns,
                optional=not with_ipv6,
            )
        )
        if not announces:
            for key in ("ipv4.conf.{}.arp_notify", "ipv6.conf.{}.ndisc_notify"):
                steps.append(SetSysctl(f"net.{key.format(dotted)}", "0", netns, optional=True))
        for key, value in parse_sysctls(endpoint.settings.driver_opts.get(SYSCTLS_OPTION, ""), name):
            steps.append(SetSysctl(key, value, netns))
    present = link.addresses if link else frozenset()
    steps += [AddAddress(name, address, netns) for address in wanted if address not in present]
    new_mtu = mtu if link is not None and link.mtu != mtu else None
    if link is None or not link.up:
        # Last also so that the kernel announces the addresses (arp_notify) as the link comes up.
        steps.append(SetLink(name, netns, up=True, mtu=new_mtu))
    elif new_mtu is not None:
        steps.append(SetLink(name, netns, mtu=new_mtu))
    return tuple(steps)


def choose_interface(endpoint: Endpoint, prefix: str) -> str:
    """Return the name of an endpoint's interface in its sandbox, its settings checked."""
    settings = endpoint.settings
    asked = settings.driver_opts.get(IFNAME_OPTION)
    name = check_interface_name(asked) if asked else f"{prefix}{endpoint.index}"
    parse_sysctls(settings.driver_opts.get(SYSCTLS_OPTION, ""), name)
    _link_local(endpoint)
    return name


def choose_endpoint_mac(endpoint: Endpoint) -> str:
    """Return the MAC address asked for, or the one that the endpoint has, or a new one."""
    asked = endpoint.settings.mac_address
    return parse_mac(asked) if asked else endpoint.mac_address or choose_mac(endpoint.id)


def _link_local(endpoint: Endpoint) -> list[str]:
    """Return the link-local addresses asked for, with prefix length, written as the kernel does."""
    found = []
    for text in endpoint.settings.link_local_addresses:
        length = "" if "/" in text else "/64" if ":" in text else "/16"
        try:
            interface = ip_interface(text + length)
        except ValueError:
            raise InvalidRequest(f"invalid link-local IP address: {text}") from None
        if "%" in text:
            raise InvalidRequest(f"invalid link-local IP address: {text} (a zone has no place in it)")
        found.append(str(interface))
    return found
