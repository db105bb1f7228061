"""The ptp driver: a veth pair per endpoint, no bridge, routes on the host.

Every container is alone on its link. The host's end of each pair bears the network's gateway address, and the
host routes to each container by its own /32 (or /128), so that containers never see one another's broadcasts
and the host's firewall sees every packet between them.
"""

from dataclasses import replace
from ipaddress import ip_interface

from carrick.domains.firewall import NetworkRules
from carrick.domains.sandboxes.interfaces import check_interface_name, choose_mac, host_interface
from carrick.drivers.contract import DriverCapabilities, HostView
from carrick.model.errors import InvalidRequest
from carrick.model.networks import Endpoint, Network, Sandbox
from carrick.model.observed import NamespaceState
from carrick.model.steps import AddAddress, AddRoute, CreateVeth, DeleteLink, Plan, SetLink, SetSysctl, Step

PREFIX = "ptp.interface_prefix"


class PtpDriver:
    """Implements `carrick.drivers.contract.Driver`."""

    name = "ptp"
    # Addresses come from pools, and the host is the gateway; there is no NAT, so no published ports.
    capabilities = DriverCapabilities(addressed=True, gateway=True, published=False)

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        self._prefix(network)
        for pool in network.pools:
            if not pool.gateway:
                raise InvalidRequest(
                    f"network {network.name}: the ptp driver needs a gateway in {pool.subnet}"
                )
        return network

    # Networks: there is nothing to make before there is an endpoint. -------------------------

    def plan_network(self, network: Network, host: HostView) -> Plan:
        return Plan()

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        return Plan()

    # Endpoints -------------------------------------------------------------------------------

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        pool4, pool6 = network.pool(4), network.pool(6)
        return replace(
            endpoint,
            interface=f"{self._prefix(network)}{endpoint.index}",
            host_interface=host_interface(endpoint.id),
            mac_address=endpoint.mac_address or choose_mac(endpoint.id),
            # The engine puts the default routes, over all of a container's endpoints.
            gateway4=pool4.gateway if pool4 and not network.internal else "",
            gateway6=pool6.gateway if pool6 and not network.internal else "",
        )

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        outer_name, inner_name, netns = endpoint.host_interface, endpoint.interface, sandbox.netns
        outer, inner = host.state.links.get(outer_name), inside.links.get(inner_name)
        steps: list[Step] = []
        if outer is None or inner is None or inner.peer_index != outer.index:
            # One end without the other is what a daemon leaves that was killed half-way.
            if outer is not None:
                steps.append(DeleteLink(outer_name))
            if inner is not None:
                steps.append(DeleteLink(inner_name, netns))
            outer = inner = None
            steps.append(
                CreateVeth(
                    name=outer_name,
                    # The mark by which Carrick knows, and removes, what it made.
                    alias=f"{host.mark}{endpoint.id}",
                    mtu=host.mtu,
                    master="",
                    peer=inner_name,
                    peer_netns=netns,
                    peer_mac=endpoint.mac_address,
                )
            )
        elif not outer.up or outer.alias != f"{host.mark}{endpoint.id}":
            steps.append(SetLink(outer_name, up=True, alias=f"{host.mark}{endpoint.id}"))
        addresses = [ip_interface(text).ip for text in (endpoint.ipv4, endpoint.ipv6) if text]
        pools = {pool.version: pool for pool in network.pools}

        # Inside: first what must be there before the link is up, then the link, then its routes.
        is_down = inner is None or not inner.up
        if is_down:
            without = "1" if all(address.version == 4 for address in addresses) else "0"
            key = f"net.ipv6.conf.{inner_name.replace('.', '/')}.disable_ipv6"
            steps.append(SetSysctl(key, without, netns, optional=without == "1"))
        for address in addresses:
            own = f"{address}/{address.max_prefixlen}"
            if inner is None or own not in inner.addresses:
                steps.append(AddAddress(inner_name, own, netns))
        if is_down:
            steps.append(SetLink(inner_name, netns, up=True))
        routed_inside = {(route.destination, route.link) for route in inside.routes}
        routed_here = {(route.destination, route.link) for route in host.state.routes}
        for address in addresses:
            gateway, length = pools[address.version].gateway, address.max_prefixlen
            near, far = f"{gateway}/{length}", f"{address}/{length}"
            if is_down or (near, inner_name) not in routed_inside:
                steps.append(AddRoute(near, inner_name, netns=netns, version=address.version))
            if outer is None or near not in outer.addresses:
                steps.append(AddAddress(outer_name, near))
            if outer is None or not outer.up or (far, outer_name) not in routed_here:
                steps.append(AddRoute(far, outer_name, version=address.version))
        return Plan(tuple(steps))

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        # The other end, the addresses and the routes go with it.
        return Plan((DeleteLink(endpoint.host_interface),))

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        # Carrick's tables know bridges; traffic of this driver's networks passes them untouched.
        return None

    @staticmethod
    def _prefix(network: Network) -> str:
        prefix = check_interface_name(network.options.get(PREFIX) or "eth")
        if len(prefix) > 12:
            raise InvalidRequest(f"{PREFIX} {prefix!r} is longer than 12 characters")
        return prefix
