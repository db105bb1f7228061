"""What a container asks of whoever makes one of its endpoints."""

from ...model.containers import PortBinding
from ...model.delegation import Wishes
from ...model.networks import Endpoint, Sandbox
from ..values import ContainerRecord


def plan_wishes(
    record: ContainerRecord, sandbox: Sandbox, endpoint: Endpoint, *, publishes_itself: bool
) -> Wishes:
    """Return the wishes of a container at one endpoint.

    Its ports are asked of its first network, and of none with `publishes_itself`: then it is on a network
    where Carrick does that.
    """
    host = record.host_config
    exposed = tuple(record.config.exposed_ports)
    ports = host.port_bindings
    if host.publish_all_ports:
        have = {(item.container_port, item.protocol) for item in ports}
        named = [
            (int(number), protocol or "tcp") for number, _, protocol in (e.partition("/") for e in exposed)
        ]
        ports += tuple(
            PortBinding(port, protocol) for port, protocol in named if (port, protocol) not in have
        )
    is_first = endpoint.index == min(item.index for item in sandbox.endpoints)
    return Wishes(
        container_name=record.name,
        ports=ports if is_first and not publishes_itself else (),
        exposed_ports=exposed,
        dns=host.dns,
        dns_search=host.dns_search,
        dns_options=host.dns_options,
    )
