"""Plan a sandbox's default routes: through the endpoints that the election of gateways chose. Pure."""

from collections.abc import Sequence

from ...model.ids import NetworkId
from ...model.networks import Sandbox
from ...model.observed import RouteState
from ...model.steps import AddRoute, RemoveRoute, Step
from .interfaces import elect_gateways


def plan_default_routes(sandbox: Sandbox, routes: Sequence[RouteState]) -> list[Step]:
    """Return the steps that put the default routes where the election says, none where they are."""
    gateways = elect_gateways(sandbox.endpoints)
    steps: list[Step] = []
    for version, network_id in ((4, gateways.ipv4), (6, gateways.ipv6)):
        destination = "default" if version == 4 else "::/0"
        current = next((route for route in routes if route.destination == destination), None)
        wanted = _default_route(sandbox, network_id, version)
        if wanted is None:
            if current is not None:
                steps.append(RemoveRoute("default", sandbox.netns, version))
        elif current is None or (current.link, current.via) != (wanted.link, wanted.via):
            steps.append(wanted)
    return steps


def plan_route_change(before: Sandbox, after: Sandbox) -> list[Step]:
    """Return the steps for default routes when endpoints changed, without looking at the kernel."""
    old, new = elect_gateways(before.endpoints), elect_gateways(after.endpoints)
    steps: list[Step] = []
    for version, was, now in ((4, old.ipv4, new.ipv4), (6, old.ipv6, new.ipv6)):
        # A route through an interface that is gone is gone with it; only a new one has to be put.
        wanted = _default_route(after, now, version) if now != was else None
        if wanted is not None:
            steps.append(wanted)
    return steps


def _default_route(sandbox: Sandbox, network_id: NetworkId | None, version: int) -> AddRoute | None:
    endpoint = sandbox.endpoint(network_id) if network_id else None
    if endpoint is None:
        return None
    via = endpoint.gateway6 if version == 6 else endpoint.gateway4
    # The unspecified address stands for "on the link" (ipvlan's l3 modes).
    return AddRoute(
        "default", endpoint.interface, "" if via in {"0.0.0.0", "::"} else via, sandbox.netns, version
    )
