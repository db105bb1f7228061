"""The steps that have a network's packets take shortcuts, and those that end it."""

from ipaddress import IPv4Network

from ..model.networks import Endpoint
from ..model.steps import AddShortcut, CreateVeth, Plan, RemoveShortcut, SetShortcut, Step
from .contract import HostView


def plan_shortcut(
    tunnel: str,
    bridge: str,
    host: HostView,
    *,
    wanted: bool,
    fresh: bool,
    subnet: IPv4Network | None = None,
) -> list[Step]:
    """Return what brings the shortcut of a network's VXLAN device about, or ends it.

    `fresh`: the device is new. With `subnet` the network is a routed one.
    """
    link = None if fresh else host.state.links.get(tunnel)
    state = link.shortcut if link is not None else ""
    if wanted:
        return [] if state == "set" else [SetShortcut(tunnel, bridge, subnet)]
    return [RemoveShortcut(tunnel, bridge)] if state else []


def plan_taking_part(
    tunnel: str, endpoint: Endpoint, plan: Plan, host: HostView, *, routed: bool = False
) -> Plan:
    """Return `plan`, which makes an endpoint, with its part in its network's shortcut."""
    port = host.state.links.get(endpoint.host_interface)
    if port is not None and any(isinstance(step, CreateVeth) for step in plan.steps):
        port = None
    if port is not None and port.shortcut == "set":
        return plan
    mac = endpoint.mac_address.lower()
    address = endpoint.ipv4_address if routed else ""
    return plan + Plan((AddShortcut(tunnel, endpoint.host_interface, mac, address),))
