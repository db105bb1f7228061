"""What a container asks of whoever makes one of its endpoints."""

from ...model.containers import PortBinding
from ...model.delegation import Wishes
from ...model.networks import Endpoint, Sandbox
from ..values import ContainerRecord


def plan_wishes(record: ContainerRecord, sandbox: Sandbox, endpoint: Endpoint) -> Wishes:
    """Return the wishes of a container at one endpoint.

    Its ports are asked of the network that will be its gateway, as far as that can be told before anybody
    has said what is a gateway: where that is one of ours, we publish them, and ask nobody.
    """
    host = record.host_config
    exposed = tuple(record.config.exposed_ports)
    ports = host.port_bindings
    if host.publish_all_ports:
        have = {(item.container_port, item.protocol) for item in ports}
        parts = (text.partition("/") for text in exposed)
        named = [(int(number), protocol or "tcp") for number, _, protocol in parts if number.isdigit()]
        ports += tuple(PortBinding(*item) for item in named if item not in have)
    first = min(sandbox.endpoints, key=lambda item: (-item.settings.gw_priority, item.index))
    return Wishes(
        container_name=record.name,
        ports=ports if first.id == endpoint.id else (),
        exposed_ports=exposed,
        dns=host.dns,
        dns_search=host.dns_search,
        dns_options=host.dns_options,
    )
