"""Read the name servers out of a resolv.conf (resolv.conf(5))."""

from ipaddress import ip_address

MAX_SERVERS = 3
"""glibc's MAXNS: the file may list more, nobody asks them."""


def parse_nameservers(text: str) -> tuple[str, ...]:
    """Return the first three valid name servers in order; an IPv6 zone (`%eth0`) is kept."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            ip_address(words[1])
        except ValueError:
            continue
        if words[1] not in found:
            found.append(words[1])
    return tuple(found[:MAX_SERVERS])
