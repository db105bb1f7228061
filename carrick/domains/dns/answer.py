"""The rules: what a sandbox is answered, or that the question is not ours and goes upstream.

Docker's rules (moby, `Sandbox.ResolveName`), for a name `a.b.c`: the whole name on any network,
then `a.b` on the network `c`, then `a` on the network `b.c`; each time the sandbox's links first,
then the networks' names, networks in gateway order, first hit wins. A name that exists answers
every type: with nothing, where there is nothing, so that a type nobody stored is not asked for
upstream. Two things differ: fixed hosts (`--add-host`) come first, as in the hosts file, and the
reverse zones of our own subnets are never forwarded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .message import CLASS_IN, RecordType, ResponseCode
from .names import Address, Name, parse_name, parse_reverse, write_name
from .query import Query
from .table import Found, NetworkIndex, Sandbox, ZoneTable

LOOP_PROBE_SUFFIX: Name = (b"carrick-loop", b"test")
"""Names under it are ours alone (RFC 6761 reserves `test`); see `forward`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A local answer. `records` are (type, data) owned by the question's name.

    `authoritative` is false for refusals; addresses among the records may be rotated, but the first `near`
    of them, where there are any, among themselves.
    """

    rcode: ResponseCode
    records: tuple[tuple[int, bytes], ...] = ()
    authoritative: bool = True
    near: int = 0


EMPTY = Answer(ResponseCode.NOERROR)
REFUSED = Answer(ResponseCode.REFUSED, authoritative=False)
_UNKNOWN = Answer(ResponseCode.NXDOMAIN)


def decide(table: ZoneTable, sandbox: Sandbox, query: Query) -> Answer | None:
    """Return the answer, or None where the question is to be forwarded."""
    if query.qclass != CLASS_IN or query.qtype in (RecordType.AXFR, RecordType.IXFR):
        return REFUSED
    found = find_addresses(table, sandbox, query.name)
    if found is not None:
        records = tuple(_records(found.addresses, query.qtype))
        near = len(tuple(_records(found.addresses[: found.near], query.qtype))) if found.near else 0
        return Answer(ResponseCode.NOERROR, records, near=near)
    reverse = parse_reverse(query.name)
    if reverse is not None:
        return _decide_reverse(table, sandbox, query, reverse)
    if sandbox.view.ndots_set and len(query.name) == 1 and query.qtype in (RecordType.A, RecordType.AAAA):
        # The user's own ndots: let the client go on to its search list.
        return EMPTY
    return None


def find_addresses(table: ZoneTable, sandbox: Sandbox, name: Name) -> Found | None:
    """Return the addresses of a folded name, or None if the sandbox sees no such name.

    None of them means that the name exists without an address.
    """
    if not name or any(b"." in label for label in name):
        return None
    if name in sandbox.hosts:
        return Found(sandbox.hosts[name])
    networks = [
        index for network_id in sandbox.view.networks if (index := table.networks.get(network_id)) is not None
    ]
    for split in range(len(name), 0, -1):
        wanted, suffix = name[:split], name[split:]
        scope = [index for index in networks if index.suffix == suffix] if suffix else networks
        found = _find_link(sandbox, wanted, scope, anywhere=not suffix)
        if found is not None:
            return found
        for index in scope:
            if index.knows(wanted):
                return index.addresses(wanted)
    return None


def _find_link(sandbox: Sandbox, alias: Name, scope: list[NetworkIndex], *, anywhere: bool) -> Found | None:
    for link in sandbox.links.get(alias, ()):
        if link.addresses and anywhere:
            return Found(link.addresses)
        for index in scope:
            if link.network_id in ("", index.zone.network_id):
                if link.addresses:
                    return Found(link.addresses)
                if link.target is not None and index.knows(link.target):
                    return index.addresses(link.target)
    return None


def _records(addresses: tuple[Address, ...], qtype: int) -> Iterator[tuple[int, bytes]]:
    for address in addresses:
        rtype = RecordType.A if address.version == 4 else RecordType.AAAA
        if qtype in (rtype, RecordType.ANY):
            yield rtype, address.packed


def _decide_reverse(
    table: ZoneTable, sandbox: Sandbox, query: Query, reverse: tuple[Address, int]
) -> Answer | None:
    address, bits = reverse
    whole = bits == address.max_prefixlen
    if whole:
        for network_id in sandbox.view.networks:
            index = table.networks.get(network_id)
            if index is None or (first := index.first_name(address)) is None:
                continue
            name = parse_name(f"{first}.{index.zone.name}") or parse_name(first)
            if name is None or query.qtype not in (RecordType.PTR, RecordType.ANY):
                return EMPTY
            return Answer(ResponseCode.NOERROR, ((RecordType.PTR, write_name(name)),))
    if table.is_ours(address, bits):
        # Something may exist below a partial name, so it is empty, not absent (RFC 8020).
        return _UNKNOWN if whole else EMPTY
    return None
