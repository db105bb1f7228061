"""The macvlan and ipvlan drivers: endpoints are children of a host interface, on the LAN itself.

The host is not in the path: there is no gateway of ours, no NAT, no published port, and (the kernel's rule)
the host cannot reach its own children. A parent `eth0.10` that is not there is made as an 802.1q
sub-interface and removed with the last network that uses it.
"""

from dataclasses import dataclass, replace

from ..domains.firewall import NetworkRules
from ..domains.sandboxes.interfaces import check_interface_name
from ..model.errors import Denied, InvalidRequest
from ..model.ids import short
from ..model.networks import Endpoint, Network, Sandbox
from ..model.observed import NamespaceState
from ..model.steps import CreateDummy, CreateSlave, CreateVlan, DeleteLink, Plan, SetLink, Step
from .bridge import choose_endpoint_mac, choose_interface, plan_inside
from .contract import DriverCapabilities, HostView

MTU = "com.docker.network.driver.mtu"
MACVLAN_OPTIONS = frozenset({"parent", "macvlan_mode", MTU})
IPVLAN_OPTIONS = frozenset({"parent", "ipvlan_mode", "ipvlan_flag", MTU})
_MACVLAN_MODES = ("bridge", "private", "vepa", "passthru")
_IPVLAN_MODES = ("l2", "l3", "l3s")
_IPVLAN_FLAGS = ("bridge", "private", "vepa")


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """`parent` is a host interface; `is_internal` says that it is a dummy made for the network."""

    parent: str
    mode: str
    flag: str = ""
    is_internal: bool = False
    mtu: int = 0


class _ChildDriver:
    """What macvlan and ipvlan share: parents, sub-interfaces and the life of an endpoint."""

    name = ""
    dummy_prefix = ""
    capabilities = DriverCapabilities()

    def parse_options(self, network: Network) -> ChildOptions:
        raise NotImplementedError

    def _parent(self, network: Network) -> tuple[str, bool]:
        parent = network.options.get("parent", "")
        if not parent:
            return f"{self.dummy_prefix}-{short(network.id)}", True
        if parent == "lo":
            raise InvalidRequest(f"loopback interface is not a valid {self.name} parent link")
        check_interface_name(parent)
        if "." in parent:
            split_vlan(parent)
        return parent, False

    @staticmethod
    def _mtu(network: Network) -> int:
        value = network.options.get(MTU) or "0"
        if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) <= 65535):
            raise InvalidRequest(f"failed to parse {MTU} value: {value}")
        return int(value)

    def check(self, network: Network, others: tuple[Network, ...], host: HostView) -> Network:
        options = self.parse_options(network)
        for other in others:
            if other.driver != self.name or other.id == network.id:
                continue
            theirs = self.parse_options(other)
            if theirs.parent == options.parent and "passthru" in (options.mode, theirs.mode):
                raise Denied(
                    f"cannot use mode passthru, {self.name} network {other.id} is already using "
                    f"parent interface {options.parent}"
                )
        if options.is_internal:
            return replace(network, internal=True)
        base = split_vlan(options.parent)[0] if "." in options.parent else options.parent
        if options.parent not in host.state.links and base not in host.state.links:
            raise InvalidRequest(
                f"the parent interface {options.parent} was not found on this host",
                remedy=f"choose one with -o parent=…: {', '.join(sorted(host.state.links))}",
            )
        return network

    def plan_network(self, network: Network, host: HostView) -> Plan:
        options = self.parse_options(network)
        link = host.state.links.get(options.parent)
        alias = f"{host.mark}{network.id}"
        if options.is_internal:
            made = link is not None and link.up and link.alias == alias
            return Plan() if made else Plan((CreateDummy(options.parent, alias),))
        if link is not None:
            down = link.alias.startswith(host.mark) and not link.up
            return Plan((SetLink(options.parent, up=True),)) if down else Plan()
        base, vlan = split_vlan(options.parent)
        return Plan((CreateVlan(options.parent, base, vlan, alias),))

    def plan_network_removal(self, network: Network, others: tuple[Network, ...], host: HostView) -> Plan:
        options = self.parse_options(network)
        link = host.state.links.get(options.parent)
        if link is None or not link.alias.startswith(host.mark):
            return Plan()
        for other in others:
            uses_it = other.driver in {"macvlan", "ipvlan"} and other.options.get("parent") == options.parent
            if uses_it and other.id != network.id:
                # The mark passes on: one of a network that is no more would have the link removed.
                heir = f"{host.mark}{other.id}"
                mine = link.alias == f"{host.mark}{network.id}"
                return Plan((SetLink(options.parent, alias=heir),)) if mine else Plan()
        return Plan((DeleteLink(options.parent),))

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        pool4, pool6 = network.pool(4), network.pool(6)
        return replace(
            endpoint,
            interface=choose_interface(endpoint, "eth"),
            gateway4=pool4.gateway if pool4 and not network.internal else "",
            gateway6=pool6.gateway if pool6 and not network.internal else "",
        )

    def plan_endpoint(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView, inside: NamespaceState
    ) -> Plan:
        options = self.parse_options(network)
        parent = host.state.links.get(options.parent)
        mtu = options.mtu or (parent.mtu if parent else 0)
        inner = inside.links.get(endpoint.interface)
        steps: list[Step] = []
        if parent is not None and not parent.up:
            steps.append(SetLink(options.parent, up=True))
        if inner is not None and inner.kind != self.name:
            steps.append(DeleteLink(endpoint.interface, netns=sandbox.netns))
            inner = None
        alias = f"{host.mark}{endpoint.id}"
        if inner is None:
            steps.append(
                CreateSlave(
                    kind=self.name,
                    name=endpoint.interface,
                    netns=sandbox.netns,
                    parent=options.parent,
                    mode=options.mode,
                    flag=options.flag,
                    mac=endpoint.mac_address,
                    mtu=options.mtu,
                )
            )
        if inner is None or inner.alias != alias:
            steps.append(SetLink(endpoint.interface, sandbox.netns, alias=alias))
        return Plan(tuple(steps) + plan_inside(endpoint, sandbox.netns, inner, inner.mtu if inner else mtu))

    def plan_endpoint_removal(
        self, network: Network, endpoint: Endpoint, sandbox: Sandbox, host: HostView
    ) -> Plan:
        return Plan((DeleteLink(endpoint.interface, netns=sandbox.netns),))

    def firewall_rules(self, network: Network) -> NetworkRules | None:
        return None


def split_vlan(parent: str) -> tuple[str, int]:
    """Split `eth0.10` into its interface and its VLAN id, 1 to 4094."""
    base, _, number = parent.rpartition(".")
    digits = number.isascii() and number.isdigit() and len(number) <= 4
    if not base or not digits or not 1 <= int(number) <= 4094:
        raise InvalidRequest(f"invalid subinterface vlan name {parent}, example formatting is eth0.10")
    return base, int(number)


class MacvlanDriver(_ChildDriver):
    """Children with MAC addresses of their own."""

    name = "macvlan"
    capabilities = DriverCapabilities(needs=("macvlan",))
    dummy_prefix = "dm"

    def parse_options(self, network: Network) -> ChildOptions:
        mode = network.options.get("macvlan_mode") or "bridge"
        if mode not in _MACVLAN_MODES:
            raise InvalidRequest(
                f"requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"
            )
        parent, is_internal = self._parent(network)
        return ChildOptions(parent, mode, is_internal=is_internal, mtu=self._mtu(network))

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        completed = super().complete_endpoint(network, endpoint)
        return replace(completed, mac_address=choose_endpoint_mac(endpoint))


class IpvlanDriver(_ChildDriver):
    """Children that share the parent's MAC address; in the l3 modes the host routes for them."""

    name = "ipvlan"
    capabilities = DriverCapabilities(needs=("ipvlan",))
    dummy_prefix = "di"

    def parse_options(self, network: Network) -> ChildOptions:
        mode = network.options.get("ipvlan_mode") or "l2"
        if mode not in _IPVLAN_MODES:
            raise InvalidRequest(
                f"requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver default"
            )
        flag = network.options.get("ipvlan_flag") or "bridge"
        if flag not in _IPVLAN_FLAGS:
            raise InvalidRequest(
                f"requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default"
            )
        parent, is_internal = self._parent(network)
        return ChildOptions(parent, mode, flag, is_internal, self._mtu(network))

    def complete_endpoint(self, network: Network, endpoint: Endpoint) -> Endpoint:
        if endpoint.settings.mac_address:
            raise InvalidRequest("ipvlan interfaces do not support custom mac address assignment")
        completed = replace(super().complete_endpoint(network, endpoint), mac_address="")
        options = self.parse_options(network)
        if options.mode == "l2" or network.internal:
            return completed
        # l3 has no neighbours to resolve: the default route is on the link itself.
        return replace(
            completed,
            gateway4="0.0.0.0" if completed.ipv4 else "",
            gateway6="::" if completed.ipv6 else "",
        )
