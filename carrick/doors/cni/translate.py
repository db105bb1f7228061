"""From a call to a guest, and from a guest to a result. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from ...engine.values import CreateNetwork, GuestView
from ...model.containers import PortBinding
from ...model.guests import CNI, KUBERNETES, PODMAN, Bandwidth, GuestDns, GuestSpec, guest_id
from ...model.ids import ContainerId
from ...model.networks import EndpointSettings, Network, PoolConfig
from .errors import CniError, Code
from .request import Call
from .result import merge
from .wire import Address, Dns, Interface, NetConf, PortMapping, Range, Result, Route, RuntimeConfig

ENGINES = (PODMAN, KUBERNETES, CNI)
RESOLVER = "127.0.0.11"
"""Where `carrick-dns` listens, in each guest's namespace."""

NETWORK_DETAIL = "cni-network"
"""Under this a guest remembers the CNI network that it was attached by: garbage is collected by that."""

MASQUERADE_OPTION = "com.docker.network.bridge.enable_ip_masquerade"
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_ANYWHERE = ("0.0.0.0/0", "::/0")


def engine_of(call: Call) -> str:
    """Return who calls. Podman gives a container's name as the pod's, and no namespace (before 3.4 the
    name once more)."""
    name, namespace = call.args.get("K8S_POD_NAME", ""), call.args.get("K8S_POD_NAMESPACE", "")
    if not name:
        return CNI
    is_podman = namespace in ("", name) and not call.args.get("K8S_POD_UID")
    return PODMAN if is_podman else KUBERNETES


def key_of(network: str, container_id: str, interface: str) -> str:
    """Return what tells an attachment from others: the specification's primary key."""
    return f"{network}/{container_id}/{interface}"


def guest_ids(network: str, container_id: str, interface: str) -> list[ContainerId]:
    """Return the ids that a guest may have, whoever of `ENGINES` attached it."""
    return [guest_id(engine, key_of(network, container_id, interface)) for engine in ENGINES]


def network_of(config: NetConf) -> str:
    return config.network or config.name


@dataclass(frozen=True, slots=True)
class Given:
    """What a delegated IPAM plugin gave."""

    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def pools(self) -> tuple[PoolConfig, ...]:
        """The subnets that its addresses are in, each with its gateway."""
        found: dict[str, PoolConfig] = {}
        for text in self.addresses:
            subnet = ip_interface(text).network
            gateway = next((item for item in self.gateways if ip_address(item) in subnet), "")
            found.setdefault(str(subnet), PoolConfig(str(subnet), gateway=gateway))
        return tuple(found.values())


def given_of(result: Result, plugin: str) -> Given:
    """Check what an IPAM plugin gave. CniError 7 if it gave no address, or something that is none."""
    addresses, gateways = [], []
    for item in result.ips or ():
        try:
            addresses.append(str(ip_interface(item.address)))
            if item.gateway:
                gateways.append(str(ip_address(item.gateway)))
        except ValueError as error:
            raise CniError(Code.INVALID_CONFIG, f"IPAM plugin {plugin} gave no address: {error}") from error
    if not addresses:
        raise CniError(Code.INVALID_CONFIG, f"IPAM plugin {plugin} returned missing IP config")
    routes = tuple(result.routes or ())
    for route in routes:
        _check_route(route.dst, route.gw)
    return Given(tuple(addresses), tuple(gateways), routes)


# Towards the engine ----------------------------------------------------------------------------------


def plan_network(config: NetConf, given: Given | None) -> CreateNetwork | None:
    """Return how to create the network of a configuration, None if that says nothing of it."""
    create = config.create
    if create is None:
        return None
    pools = [PoolConfig(item.subnet, item.ip_range, item.gateway) for item in create.subnets]
    if create.subnet:
        pools.append(PoolConfig(create.subnet))
    if not pools and config.runtime_config:
        pools = [_pool_of(item) for ranges in config.runtime_config.ip_ranges or () for item in ranges]
    if not pools and given is not None:
        pools = list(given.pools)
    for pool in pools:
        _check_subnet(pool.subnet)
    options = dict(create.options)
    if config.ip_masq is not None and create.driver == "bridge":
        options.setdefault(MASQUERADE_OPTION, str(config.ip_masq).lower())
    return CreateNetwork(
        name=network_of(config),
        driver=create.driver,
        enable_ipv4=_family(create.ipv4, pools, 4),
        enable_ipv6=_family(create.ipv6, pools, 6),
        internal=create.internal,
        pools=tuple(pools),
        options=options,
        labels=create.labels,
    )


def _family(asked: bool | None, pools: Sequence[PoolConfig], version: int) -> bool | None:
    """Return whether a family is wanted: as asked; else as the subnets say, if there are any."""
    if asked is not None or not pools:
        return asked
    return any(pool.version == version for pool in pools)


def _pool_of(item: Range) -> PoolConfig:
    return PoolConfig(item.subnet, gateway=item.gateway)


def _check_subnet(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid subnet: {error}") from error


def ranges_of(config: NetConf, network: Network) -> tuple[tuple[str, str], ...]:
    """Return where the runtime wishes the addresses to be. CniError 7 if the network is not there.

    A range without ends of its own is all of its subnet, and no wish beyond that.
    """
    asked = (config.runtime_config and config.runtime_config.ip_ranges) or ()
    have = {pool.subnet for pool in network.pools}
    found = []
    for item in (item for ranges in asked for item in ranges):
        _check_subnet(item.subnet)
        subnet = ip_network(item.subnet)
        if str(subnet) not in have:
            raise CniError(
                Code.INVALID_CONFIG,
                f"network {network.name} does not have the range asked for, {item.subnet}",
                f"it has {', '.join(sorted(have)) or 'no subnets'}",
            )
        if not item.range_start and not item.range_end:
            continue
        try:
            first = ip_address(item.range_start or subnet.network_address)
            last = ip_address(item.range_end or subnet.broadcast_address)
        except ValueError as error:
            raise CniError(Code.INVALID_CONFIG, f"invalid range: {error}") from error
        if first not in subnet or last not in subnet or int(first) > int(last):
            raise CniError(
                Code.INVALID_CONFIG, f"invalid range: {first}-{last} is not a part of {item.subnet}"
            )
        found.append((str(first), str(last)))
    return tuple(found)


def plan_guest(call: Call, config: NetConf, network: Network, given: Given | None) -> GuestSpec:
    """Return the guest that an ADD asks for. CniError 7 or 4 for what is wrong with it."""
    runtime = config.runtime_config or RuntimeConfig()
    engine = engine_of(call)
    name, namespace = call.args.get("K8S_POD_NAME", ""), call.args.get("K8S_POD_NAMESPACE", "")
    aliases = _aliases(config, runtime)
    if engine == KUBERNETES and namespace:
        aliases = (*aliases, f"{name}.{namespace}")
    asked = () if given is not None else _asked_addresses(call, config, runtime)
    own = _in_pools(given, network) if given is not None else asked
    mac = runtime.mac or _args_mac(config) or call.args.get("MAC", "")
    dns = runtime.dns
    foreign = given.addresses if given is not None and not own else ()
    routes = [(route.dst, route.gw) for route in config.ipam.routes or ()] if given is None else []
    for destination, gateway in routes:
        _check_route(destination, gateway)
    if given is not None:
        routes = [(route.dst, route.gw) for route in given.routes]
    wants_default = config.is_default_gateway
    if wants_default is None and any(destination in _ANYWHERE for destination, _ in routes):
        wants_default = True
    if config.mtu and not 68 <= config.mtu <= 65535:
        raise CniError(Code.INVALID_CONFIG, f"invalid MTU {config.mtu}: it is 68 to 65535")
    return GuestSpec(
        engine=engine,
        key=key_of(config.name, call.container_id, call.interface),
        container_id=call.container_id,
        network=network.id,
        interface=call.interface,
        netns=call.netns,
        name=name,
        hostname=name,
        settings=EndpointSettings(
            ipv4_address=_one_of(own, 4, network),
            ipv6_address=_one_of(own, 6, network),
            mac_address=mac.lower(),
            aliases=aliases,
        ),
        ports=tuple(_binding(item) for item in runtime.port_mappings or () if item.host_port),
        hold_ports=engine != PODMAN,
        dns=GuestDns(
            servers=tuple(dict.fromkeys((*(dns.servers if dns else ()), *config.dns.nameservers))),
            search=_search(config, runtime),
            options=tuple(dict.fromkeys((*(dns.options if dns else ()), *config.dns.options))),
        ),
        bandwidth=_bandwidth(runtime),
        default_route=wants_default,
        routes=tuple(item for item in routes if item[0] not in _ANYWHERE),
        mtu=config.mtu,
        addresses=foreign,
        gateways=given.gateways if given is not None and foreign else (),
        details={NETWORK_DETAIL: config.name},
    )


def _in_pools(given: Given, network: Network) -> tuple[str, ...]:
    """Return the addresses of another IPAM if all are in pools of the network: then they are taken there."""
    for text in given.addresses:
        address = ip_interface(text)
        if not any(
            pool.version == address.version and address.network == pool.network for pool in network.pools
        ):
            return ()
    return tuple(item.partition("/")[0] for item in given.addresses)


def _asked_addresses(call: Call, config: NetConf, runtime: RuntimeConfig) -> tuple[str, ...]:
    """Return the addresses asked for, without prefix lengths: the runtime's wish before the others'."""
    args = config.args.cni.ips if config.args and config.args.cni else None
    found: Iterable[str] = runtime.ips or args or filter(None, call.args.get("IP", "").split(","))
    try:
        return tuple(str(ip_interface(item.strip()).ip) for item in found)
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid address asked for: {error}") from error


def _args_mac(config: NetConf) -> str:
    return config.args.cni.mac if config.args and config.args.cni else ""


def _one_of(addresses: Iterable[str], version: int, network: Network) -> str:
    found = [item for item in addresses if ip_address(item).version == version]
    if len(found) > 1:
        raise CniError(
            Code.INVALID_CONFIG,
            f"network {network.name} gives one IPv{version} address to an interface, not {', '.join(found)}",
        )
    return found[0] if found else ""


def _aliases(config: NetConf, runtime: RuntimeConfig) -> tuple[str, ...]:
    given = runtime.aliases
    if isinstance(given, dict):
        given = given.get(config.name, [])
    return tuple(given or ())


def _search(config: NetConf, runtime: RuntimeConfig) -> tuple[str, ...]:
    asked = runtime.dns.searches if runtime.dns else ()
    domain = (config.dns.domain,) if config.dns.domain else ()
    return tuple(dict.fromkeys((*asked, *config.dns.search, *domain)))


def _binding(item: PortMapping) -> PortBinding:
    protocol = item.protocol.lower() or "tcp"
    for port, what in ((item.container_port, "containerPort"), (item.host_port, "hostPort")):
        if not 0 < port <= 65535:
            raise CniError(Code.INVALID_CONFIG, f"portMappings: invalid {what} {port}: it is 1 to 65535")
    if protocol not in _PROTOCOLS:
        raise CniError(
            Code.INVALID_CONFIG,
            f"portMappings: unknown protocol {item.protocol[:40]!r}",
            f"known: {', '.join(sorted(_PROTOCOLS))}",
        )
    return PortBinding(item.container_port, protocol, item.host_ip, str(item.host_port))


def _bandwidth(runtime: RuntimeConfig) -> Bandwidth:
    rates = runtime.bandwidth
    if rates is None:
        return Bandwidth()
    for way, rate, burst in (
        ("ingress", rates.ingress_rate, rates.ingress_burst),
        ("egress", rates.egress_rate, rates.egress_burst),
    ):
        if rate < 0 or burst < 0 or bool(rate) != bool(burst):
            raise CniError(
                Code.INVALID_CONFIG,
                f"bandwidth: {way}Rate {rate} and {way}Burst {burst} are not a rate and a burst",
                "both are positive, or both 0",
            )
    return Bandwidth(rates.ingress_rate, rates.ingress_burst, rates.egress_rate, rates.egress_burst)


def _check_route(destination: str, gateway: str) -> None:
    try:
        ip_network(destination, strict=False)
        if gateway:
            ip_address(gateway)
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, f"invalid route: {error}") from error


# Towards the runtime ---------------------------------------------------------------------------------


def result_of(guest: GuestView, call: Call, config: NetConf) -> Result:
    """Return what a guest's ADD ends in, after what previous plugins of the chain did."""
    endpoint, spec = guest.endpoint, guest.spec
    interfaces = [Interface(name=endpoint.host_interface)] if endpoint.host_interface else []
    index = len(interfaces)
    interfaces.append(
        Interface(name=spec.interface, mac=endpoint.mac_address, mtu=guest.mtu, sandbox=call.netns)
    )
    gateways = _gateways(guest)
    addresses = [
        Address(address=address, gateway=gateways[version], interface=index)
        for version, address in ((4, endpoint.ipv4), (6, endpoint.ipv6))
        if address
    ]
    routes = []
    if guest.record.has_default_route:
        routes += [
            Route(dst=destination, gw=gateway)
            for destination, gateway in zip(_ANYWHERE, (endpoint.gateway4, endpoint.gateway6), strict=True)
            if gateway
        ]
    routes += [Route(dst=destination, gw=gateway) for destination, gateway in spec.routes]
    # A server that the user named is whom carrick-dns asks; the container asks carrick-dns.
    dns = Dns(
        nameservers=[RESOLVER],
        domain=config.dns.domain,
        search=list(spec.dns.search),
        options=list(spec.dns.options),
    )
    return merge(config.prev_result, interfaces, addresses, routes, dns)


def _gateways(guest: GuestView) -> dict[int, str]:
    """Return the gateways of a guest's network, by family; it may have routes through neither."""
    found = {}
    for version, own in ((4, guest.endpoint.gateway4), (6, guest.endpoint.gateway6)):
        pool = guest.network.pool(version)
        foreign = [item for item in guest.spec.gateways if ip_address(item).version == version]
        found[version] = own or (
            foreign[0] if foreign else pool.gateway if pool and not guest.spec.addresses else ""
        )
    return found


def differences(guest: GuestView, call: Call, config: NetConf) -> list[str]:
    """Return where a guest is not what `prevResult` says, for people. CniError 7 without that."""
    previous = config.prev_result
    if previous is None:
        raise CniError(Code.INVALID_CONFIG, "Required prevResult missing", "CHECK needs the result of ADD")
    interfaces = previous.interfaces or []
    index = next(
        (
            number
            for number, item in enumerate(interfaces)
            if item.name == call.interface and item.sandbox == call.netns
        ),
        None,
    )
    if index is None:
        return [f"prevResult has no interface {call.interface} in {call.netns}"]
    found = []
    mac = interfaces[index].mac
    if mac and guest.endpoint.mac_address and mac.lower() != guest.endpoint.mac_address.lower():
        found.append(f"{call.interface} has MAC address {guest.endpoint.mac_address}, not {mac}")
    mine = {item.address for item in previous.ips or () if item.interface in (index, None)}
    have = {guest.endpoint.ipv4, guest.endpoint.ipv6} - {""}
    found += [f"address {item} is not in prevResult" for item in sorted(have - mine)]
    found += [
        f"prevResult has address {item}, which {call.interface} was not given" for item in sorted(mine - have)
    ]
    return found
