"""Read what CNI plugins answer: results of every version, and errors.

A result is read for what the engine wants to know; the text itself goes on to the next plugin untouched.
"""

import json
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ...model.delegation import Made
from ...model.errors import Failed

_DEFAULTS = {"0.0.0.0/0", "::/0"}
TRY_AGAIN_LATER = 11


@dataclass(frozen=True, slots=True)
class Refusal:
    """A plugin's error, by the specification's codes."""

    code: int
    message: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.message}: {self.details}" if self.details else self.message


def parse_refusal(text: str) -> Refusal | None:
    """Read an error from a plugin's standard output; None if there is none in it."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("code"), int):
        return None
    message, details = found.get("msg"), found.get("details")
    return Refusal(
        found["code"],
        message if isinstance(message, str) else "",
        details if isinstance(details, str) else "",
    )


def parse_result(text: str, interface: str) -> Made:
    """Read the result of an ADD for the endpoint that is called `interface`. Failed if it makes no sense."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError("it is not a JSON object")
        if "ip4" in found or "ip6" in found:
            return _parse_old(found, interface, text)
        return _parse(found, interface, text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Failed(f"the plugin's result cannot be read: {error}") from None


def _parse(found: dict[str, Any], interface: str, text: str) -> Made:
    interfaces = found.get("interfaces") or []
    inside = [place for place, item in enumerate(interfaces) if item.get("sandbox")]
    named = [place for place in inside if interfaces[place].get("name") == interface]
    mine = next(iter(named or inside), None)
    addresses: dict[int, str] = {}
    gateways: dict[int, str] = {}
    for item in found.get("ips") or []:
        place = item.get("interface")
        # Without a place it is the only interface's, as plugins that make none (host-local alone) say it.
        if place is not None and interfaces and place != mine:
            continue
        address = ip_interface(item["address"])
        if address.version not in addresses:
            addresses[address.version] = str(address)
            if item.get("gateway"):
                gateways[address.version] = str(ip_address(item["gateway"]))
    defaults = _default_routes(found.get("routes") or [], gateways)
    servers = (found.get("dns") or {}).get("nameservers") or []
    return Made(
        interface=interface,
        mac_address=str(interfaces[mine].get("mac", "")).lower() if mine is not None else "",
        ipv4=addresses.get(4, ""),
        ipv6=addresses.get(6, ""),
        gateway4=defaults.get(4, ""),
        gateway6=defaults.get(6, ""),
        dns=tuple(str(ip_address(server)) for server in servers),
        result=text,
    )


def _parse_old(found: dict[str, Any], interface: str, text: str) -> Made:
    """Read a result of 0.1.0 or 0.2.0, where each family is an object of its own."""
    addresses: dict[int, str] = {}
    defaults: dict[int, str] = {}
    for version, key in ((4, "ip4"), (6, "ip6")):
        part = found.get(key)
        if not part:
            continue
        addresses[version] = str(ip_interface(part["ip"]))
        gateways = {version: str(ip_address(part["gateway"]))} if part.get("gateway") else {}
        defaults |= _default_routes(part.get("routes") or [], gateways)
    servers = (found.get("dns") or {}).get("nameservers") or []
    return Made(
        interface=interface,
        ipv4=addresses.get(4, ""),
        ipv6=addresses.get(6, ""),
        gateway4=defaults.get(4, ""),
        gateway6=defaults.get(6, ""),
        dns=tuple(str(ip_address(server)) for server in servers),
        result=text,
    )


def _default_routes(routes: list[dict[str, Any]], gateways: dict[int, str]) -> dict[int, str]:
    """Return the gateways of the default routes: the route's own, else that of the address."""
    found: dict[int, str] = {}
    for route in routes:
        destination = ip_network(route["dst"], strict=False)
        if str(destination) in _DEFAULTS and not route.get("table"):
            via = route.get("gw")
            gateway = str(ip_address(via)) if via else gateways.get(destination.version, "")
            if gateway:
                found.setdefault(destination.version, gateway)
    return found
