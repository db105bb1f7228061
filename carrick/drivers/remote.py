"""The remote driver: endpoints are made by one of Docker's network plugins (libnetwork's remote protocol).

The plugin makes a link on the host; Carrick moves it into the sandbox, names it, and gives it the
addresses and routes that were agreed on, as Docker does. One driver stands for one plugin and has its name.
"""

from dataclasses import replace
from ipaddress import ip_network

from ..domains.sandboxes.interfaces import IFNAME_OPTION, check_interface_name
from ..model.delegation import DelegateKind, EndpointCall, Made, Wishes
from ..model.networks import Endpoint, Network, Sandbox
from ..model.observed import NamespaceState
from ..model.steps import AddRoute, MoveLink, Plan, SetLink, Step
from .bridge import plan_inside
from .contract import DriverCapabilities, HostView
from .delegated import DelegatedDriver


class RemoteDriver(DelegatedDriver):
    """Implements `Driver` and `Delegating` for the plugin called `name`."""

    capabilities = DriverCapabilities(gateway=True)
    delegate = DelegateKind.PLUGIN

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        # What the options mean is the plugin's to say, when it is asked for the network.
        return network

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        link = inside.links.get(endpoint.interface)
        if link is None:
            # The plugin alone can make another.
            return Plan()
        return Plan(plan_inside(endpoint, sandbox.netns, link, link.mtu))

    def plan_call(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, wishes: Wishes
    ) -> EndpointCall:
        settings = endpoint.settings
        return EndpointCall(
            kind=self.delegate,
            name=self.name,
            network_id=network.id,
            network_name=network.name,
            endpoint_id=endpoint.id,
            sandbox_id=sandbox.id,
            netns=sandbox.netns,
            interface=settings.driver_opts.get(IFNAME_OPTION, ""),
            index=endpoint.index,
            ipv4=endpoint.ipv4,
            ipv6=endpoint.ipv6,
            mac_address=endpoint.mac_address,
            aliases=settings.aliases,
            options=settings.driver_opts,
            wishes=wishes,
        )

    def plan_made(self, call: EndpointCall, endpoint: Endpoint, made: Made) -> tuple[Endpoint, Plan]:
        after = replace(
            endpoint,
            interface=check_interface_name(made.interface) if made.source else "",
            mac_address=made.mac_address or endpoint.mac_address,
            ipv4=made.ipv4 or endpoint.ipv4,
            ipv6=made.ipv6 or endpoint.ipv6,
            gateway4=made.gateway4 if made.source else "",
            gateway6=made.gateway6 if made.source else "",
        )
        if not made.source:
            # A plugin may have no link at all: it does everything by itself.
            return after, Plan()
        steps: list[Step] = [MoveLink(made.source, call.netns, after.interface)]
        if after.mac_address:
            steps.append(SetLink(after.interface, call.netns, mac=after.mac_address))
        steps += plan_inside(after, call.netns, None, 0)
        for route in made.routes:
            version = ip_network(route.destination).version
            steps.append(AddRoute(route.destination, after.interface, route.via, call.netns, version))
        return after, Plan(tuple(steps))

    def plan_return(self, call: EndpointCall, made: Made) -> Plan:
        if not made.source or not made.interface:
            return Plan()
        return Plan((MoveLink(made.interface, "", made.source, call.netns),))
