"""Find Docker's own resolver in a container's network namespace.

It listens on 127.0.0.11, on a port each for UDP and TCP that the kernel chose (moby:
daemon/libnetwork/resolver.go). Carrick's listens on that address as well, with the same number for both.
"""

import logging
from ipaddress import IPv4Address
from pathlib import Path

from ...host.kernel.netns import entered
from ...model.errors import CarrickError

log = logging.getLogger(__name__)
_ADDRESS = IPv4Address("127.0.0.11")
_LISTEN = 0x0A


def find_resolver_ports(netns: str) -> tuple[int, int] | None:
    """Return the UDP and the TCP port of Docker's resolver in the namespace at a path, None if it has none
    (yet). The port for TCP may be 0: it does not listen there.

    Blocks for a moment, and must run in a thread: it goes into the namespace.
    """
    try:
        with entered(netns):
            udp = Path("/proc/thread-self/net/udp").read_text()
            tcp = Path("/proc/thread-self/net/tcp").read_text()
    except (CarrickError, OSError) as error:
        log.debug("looking for Docker's resolver in %s: %s", netns, error)
        return None
    return choose_ports(udp, tcp)


def choose_ports(udp: str, tcp: str) -> tuple[int, int] | None:
    """Return the ports that are Docker's, of /proc/net/udp and /proc/net/tcp.

    Where UDP and TCP have a port in common it is Carrick's.
    """
    datagrams, streams = parse_ports(udp), parse_ports(tcp, state=_LISTEN)
    if not (others := datagrams - streams):
        return None
    return min(others), min(streams - datagrams, default=0)


def parse_ports(text: str, state: int | None = None) -> set[int]:
    """Return the ports on 127.0.0.11 in a table of sockets (proc(5)), in one state if one is given."""
    ports = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        address, _, port = fields[1].partition(":")
        # The address is in the host's byte order, which is little-endian wherever Docker runs.
        if IPv4Address(bytes.fromhex(address)[::-1]) != _ADDRESS:
            continue
        if state is None or int(fields[3], 16) == state:
            ports.add(int(port, 16))
    return ports
