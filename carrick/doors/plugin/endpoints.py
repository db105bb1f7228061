"""The life of an endpoint: each is a guest, whose key is Docker's id of the endpoint.

CreateEndpoint gives it its addresses and leaves its interface in the host's namespace; after Join dockerd
moves that into the container and sets it up, and before DeleteEndpoint brings it back. All that is remembered
is the guest's record, so it does not matter whether the daemon was restarted in between.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, ip_interface

from ...engine.contract import Engine
from ...engine.values import GuestView
from ...model.errors import Conflict, Failed, NotFound
from ...model.guests import GuestSpec, guest_id
from ...model.ids import ContainerId
from ...model.networks import EndpointSettings, Network
from .bindings import Bindings
from .ipam import ENGINE, Ipam
from .parse import ConnectivityCall, CreateEndpointCall, EndpointCall, JoinCall
from .render import NOTHING, Document, render_details, render_endpoint, render_join

NETWORK_DETAIL = "docker-network"
_NAME_PREFIX = "ckd"
_NAME_LENGTH = 15

Joined = Callable[[GuestView, str], None]
"""Told of an endpoint that has just joined a container, and of its namespace; must not wait."""


def interface_name(endpoint_id: str) -> str:
    """Return what an endpoint's interface is called until it is in its container."""
    letters = "".join(char for char in endpoint_id if char.isalnum())
    return (_NAME_PREFIX + letters)[:_NAME_LENGTH]


class EndpointCalls:
    def __init__(self, engine: Engine, ipam: Ipam, bindings: Bindings, joined: Joined) -> None:
        self._engine = engine
        self._ipam = ipam
        self._bindings = bindings
        self._joined = joined

    async def create(self, call: CreateEndpointCall) -> Document:
        network = (await self._bindings.read()).target(call.network_id)
        guests = self._engine.guests
        try:
            view = await guests.get(_guest(call))
        except NotFound:
            spec = _spec(call, network)
            addresses = (spec.settings.ipv4_address, spec.settings.ipv6_address)
            async with self._ipam.handing_over(network, addresses):
                view = await guests.add(spec)
        else:
            _check_repeated(call, view)
        return render_endpoint(call, view)

    async def details(self, call: EndpointCall) -> Document:
        return render_details(await self._get(call))

    async def join(self, call: JoinCall) -> Document:
        view = await self._get(call)
        self._joined(view, call.sandbox_key)
        return render_join(view)

    async def leave(self, call: EndpointCall) -> Document:
        try:
            await self._engine.guests.settle(_guest(call), netns="")
        except NotFound:
            return NOTHING
        return NOTHING

    async def delete(self, call: EndpointCall) -> Document:
        await self._engine.guests.remove(_guest(call))
        return NOTHING

    async def publish(self, call: ConnectivityCall) -> Document:
        await self._get(call)
        try:
            await self._engine.guests.publish(_guest(call), call.ports)
        except Failed as error:
            # Docker says itself whose connectivity could not be programmed; what counts is why.
            raise Failed(error.message.rpartition("): ")[2], remedy=error.remedy) from error
        return NOTHING

    async def unpublish(self, call: EndpointCall) -> Document:
        try:
            await self._engine.guests.publish(_guest(call), ())
        except NotFound:
            return NOTHING
        return NOTHING

    async def _get(self, call: EndpointCall) -> GuestView:
        try:
            return await self._engine.guests.get(_guest(call))
        except NotFound as error:
            raise NotFound(
                f"endpoint {call.endpoint_id} is not known to Carrick",
                remedy="docker network disconnect -f it, and connect it again",
            ) from error


def _guest(call: EndpointCall) -> ContainerId:
    return guest_id(ENGINE, call.endpoint_id)


def _spec(call: CreateEndpointCall, network: Network) -> GuestSpec:
    """Return the guest. Of its container nothing is known yet, its id neither: see `names`."""
    return GuestSpec(
        engine=ENGINE,
        key=call.endpoint_id,
        container_id="",
        network=network.id,
        interface=interface_name(call.endpoint_id),
        staged=True,
        settings=EndpointSettings(
            _bare(call.address),
            _bare(call.address6),
            mac_address=call.mac_address or _mac_of(_bare(call.address)),
        ),
        default_route=True,
        details={NETWORK_DETAIL: call.network_id},
    )


def _mac_of(address: str) -> str:
    """Return the MAC address that goes with an IPv4 address, as Docker's bridge driver makes it.

    A container that is restarted is a new endpoint with its old address: its neighbours, who have the MAC
    address in their tables, are told of nothing.
    """
    return ":".join(f"{byte:02x}" for byte in (2, 0x42, *IPv4Address(address).packed)) if address else ""


def _bare(address: str) -> str:
    return str(ip_interface(address).ip) if address else ""


def _check_repeated(call: CreateEndpointCall, view: GuestView) -> None:
    """Raise Conflict if an endpoint that is there is another than the one that is asked for."""
    endpoint = view.endpoint
    asked = (call.address, call.address6)
    same = all(
        not text or _bare(text) == mine
        for text, mine in zip(asked, (endpoint.ipv4_address, endpoint.ipv6_address), strict=True)
    )
    if not same or view.spec.details.get(NETWORK_DETAIL) != call.network_id:
        raise Conflict(
            f"endpoint {call.endpoint_id} exists already, with other addresses or on another network"
        )
