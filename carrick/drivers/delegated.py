"""What drivers have in common whose endpoints another program makes: to most questions the answer is empty.

The engine asks that program (`contract.Delegating`), before the driver has anything to plan. What is asked of
it, and what becomes of what it made, is each driver's own; here stands why the rest is nothing.
"""

from dataclasses import replace

from ..domains.firewall import NetworkRules
from ..domains.sandboxes.interfaces import parse_mac
from ..model.delegation import EndpointCall, Made
from ..model.networks import Endpoint, Network, Sandbox
from ..model.observed import NamespaceState
from ..model.steps import Plan
from .bridge import choose_interface
from .contract import Announcements, HostView


class DelegatedDriver:
    """Of `Driver`, `Announcing` and `Delegating` what is the same whoever makes the endpoints."""

    def plan_network(self, network: Network, host: HostView) -> Plan:
        """Nothing: the program makes what a network needs, when told of it or of the first endpoint on it."""
        return Plan()

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        """Nothing: what the program made is its own, and bears no mark of ours."""
        return Plan()

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        """Fill in what the user asked for; the rest is known when the endpoint is made (`plan_made`)."""
        asked = endpoint.settings.mac_address
        # "eth" until somebody says what the interface is called. Who makes the link chooses its MAC address,
        # unless the user did.
        return replace(
            endpoint,
            interface=choose_interface(endpoint, "eth"),
            mac_address=parse_mac(asked) if asked else "",
        )

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        """Nothing: the program's answer says what was made, not how to make it again."""
        return Plan()

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        """Nothing: the program that made the endpoint was asked to remove it, before anything else."""
        return Plan()

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        """None: who makes the links filters and translates as well, and publishes the ports."""
        return None

    def announcements(self, network: Network) -> Announcements:
        """As often as usual: an endpoint is new at every start, and so may its MAC address be."""
        return Announcements()

    def plan_return(self, call: EndpointCall, made: Made) -> Plan:
        """Nothing: what stayed where the program put it, the program finds there."""
        return Plan()
