"""The drivers without links of their own: `host` shares the host's namespace, `null` has only `lo`."""

from ..domains.firewall import NetworkRules
from ..model.errors import Denied
from ..model.networks import Endpoint, Network, Sandbox
from ..model.observed import NamespaceState
from ..model.steps import Plan
from .contract import DriverCapabilities, HostView


class _Linkless:
    """What `host` and `null` share: one network each, predefined, and nothing to plan."""

    name = ""
    capabilities = DriverCapabilities(addressed=False, singleton=True)

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        if any(other.driver == self.name and other.id != network.id for other in others):
            raise Denied(f'only one instance of "{self.name}" network is allowed')
        return network

    def plan_network(self, network: Network, host: HostView) -> Plan:
        return Plan()

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        return Plan()

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        return endpoint

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        return Plan()

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        return Plan()

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        return None


class HostDriver(_Linkless):
    """The host's own namespace."""

    name = "host"


class NullDriver(_Linkless):
    """A namespace with `lo` alone; its network is called `none`."""

    name = "null"
