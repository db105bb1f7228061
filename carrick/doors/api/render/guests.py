"""Guests, as `carrick guest ls` gets them."""

from ....engine.values import GuestView
from . import Json
from .times import render_time


def render_guest(view: GuestView) -> Json:
    record, endpoint = view.record, view.endpoint
    return {
        "ID": record.id,
        "Engine": record.engine,
        "ContainerID": record.container_id,
        "Name": record.name,
        "NetworkID": view.network.id,
        "Network": view.network.name,
        "Interface": endpoint.interface,
        "Netns": record.spec.netns,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": endpoint.ipv4,
        "IPv6Address": endpoint.ipv6,
        "Ports": [
            {
                "PrivatePort": port.container_port,
                "Type": port.protocol,
                "IP": port.host_ip,
                "PublicPort": port.host_port,
            }
            for port in record.ports
        ],
        "Created": render_time(record.created),
    }
