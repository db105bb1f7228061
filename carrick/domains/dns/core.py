"""The name server without its sockets: bytes of a client in, steps for the caller out.

Also keeps the answers that the caller's fast path may repeat without asking: a mapping from a UDP
query's bytes (all but the id) to an endless iterator over its reply bodies, one per sandbox. More
than one body is a name with several addresses, and taking the next one is the rotation. Whatever
changes a name clears the mappings of the sandboxes that see it, in the same call.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import cycle
from math import lcm
from typing import Generic, TypeVar

from .answer import LOOP_PROBE_SUFFIX, REFUSED, Answer, decide
from .forward import MAX_SERVERS, Deliver, Forwarder, Step
from .message import RecordType, ResponseCode
from .names import fold, parse_name, read_name, render_text, write_name
from .protocol import Change, Lookup, LookupReport, Snapshot, StatsReport
from .query import MAX_MESSAGE, Query, Rejected, build_body, parse_query
from .table import Sandbox, Touched, ZoneTable
from .zone import DNS_PORT, SandboxView, ServerSide, UpstreamServer

LISTEN_ADDRESS = "127.0.0.11"
TTL_S = 1
"""Docker says 600, and a client that believes it talks to a dead address for ten minutes. Zero is
mishandled by some resolvers; one second is as fresh and still absorbs a burst of lookups."""

MAX_CACHED_BODIES = 16384
MAX_ROTATIONS = 16
_MAX_CACHED_QUERY = 300

Answers = dict[bytes, Iterator[bytes]]
C = TypeVar("C")


@dataclass(slots=True)
class Counters:
    """What has happened since the process started. `hits` are answers from our own names."""

    queries: int = 0
    hits: int = 0
    forwarded: int = 0
    failures: int = 0
    refused: int = 0
    truncated: int = 0
    malformed: int = 0
    upstream_replies: int = 0


class Nameserver(Generic[C]):
    """One process's names, forwards and counters; `C` is the caller's client handle."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self.table = ZoneTable()
        self.revision = 0
        self.counters = Counters()
        self._forwarder: Forwarder[C] = Forwarder(random_bytes)
        self._answers: dict[str, Answers] = {}
        self._cached = 0
        self._turn = 0
        self._host_servers: tuple[UpstreamServer, ...] = ()
        self._host_is_sandbox = False

    # -- what the daemon says ------------------------------------------------------------------

    def load(self, snapshot: Snapshot) -> list[Step[C]]:
        """Replace everything; sandboxes that are no longer there lose their forwards."""
        before = set(self.table.sandboxes)
        return self._settle(self.table.load(snapshot), snapshot.revision, before)

    def apply(self, revision: int, changes: Iterable[Change]) -> list[Step[C]]:
        """Make changes; all or, with InvalidRequest, none."""
        before = set(self.table.sandboxes)
        return self._settle(self.table.apply(changes), revision, before)

    def use_host_servers(self, addresses: tuple[str, ...]) -> None:
        """Take the host's name servers, as its resolv.conf has them now."""
        self._host_servers = tuple(UpstreamServer(address, ServerSide.HOST) for address in addresses)

    def set_host_is_sandbox(self, inside: bool) -> None:
        """Say that this process runs in a namespace it serves: the host's 127.0.0.11 is us then."""
        self._host_is_sandbox = inside

    def snapshot(self) -> Snapshot:
        """Return the whole state, to be kept for a restart."""
        return self.table.snapshot(self.revision)

    def views(self) -> dict[str, SandboxView]:
        """Return every sandbox's view by its id."""
        return {key: box.view for key, box in self.table.sandboxes.items()}

    # -- what clients ask ----------------------------------------------------------------------

    def answers(self, sandbox_id: str) -> Answers:
        """Return the sandbox's repeatable answers. The mapping lives as long as the sandbox."""
        return self._answers.setdefault(sandbox_id, {})

    def on_query(self, sandbox_id: str, wire: bytes, client: C, *, tcp: bool, now: float) -> list[Step[C]]:
        """Take a query of a sandbox. Never raises, whatever the bytes."""
        self.counters.queries += 1
        query = parse_query(wire)
        if isinstance(query, Rejected):
            self.counters.malformed += 1
            return [] if query.reply is None else [Deliver(client, query.reply)]
        sandbox = self.table.sandboxes.get(sandbox_id)
        if sandbox is None:
            return self._reply(query, REFUSED, client, MAX_MESSAGE)
        if query.name[1:] == LOOP_PROBE_SUFFIX:
            steps = self._forwarder.on_probe_seen(query.name[0], now)
            return self._reply(query, REFUSED, client, MAX_MESSAGE) + steps
        answer = decide(self.table, sandbox, query)
        if answer is None:
            return self._forward(sandbox, query, wire, client, tcp=tcp, now=now)
        limit = MAX_MESSAGE if tcp else query.udp_size
        if answer.rcode == ResponseCode.NOERROR:
            self.counters.hits += 1
        bodies = self._bodies(query, answer, limit)
        # Options hold cookies, which differ each time: keeping those would only fill the table.
        if not tcp and not query.has_options and len(wire) <= _MAX_CACHED_QUERY:
            self._keep(sandbox_id, wire[2:], bodies)
        return [Deliver(client, query.id + bodies[0])]

    def on_upstream_reply(self, flight: int, attempt: int, reply: bytes, now: float) -> list[Step[C]]:
        """Take what an upstream server sent."""
        self.counters.upstream_replies += 1
        return self._count(self._forwarder.on_reply(flight, attempt, reply, now))

    def on_upstream_error(self, flight: int, attempt: int, now: float) -> list[Step[C]]:
        """An upstream server could not be asked, or hung up."""
        return self._count(self._forwarder.on_error(flight, attempt, now))

    def expire(self, now: float) -> list[Step[C]]:
        """Do what is due."""
        return self._count(self._forwarder.expire(now))

    def next_deadline(self) -> float | None:
        """When `expire` wants to be called."""
        return self._forwarder.next_deadline()

    # -- diagnostics ---------------------------------------------------------------------------

    def lookup(self, request: Lookup) -> LookupReport:
        """Say what a sandbox would be answered. Raises NotFound for an unknown sandbox."""
        sandbox = self.table.sandbox(request.sandbox_id)
        name = parse_name(request.name) if request.name.strip(".") else ()
        qtype = RecordType.__members__.get(request.rtype.upper())
        if name is None or qtype is None:
            return LookupReport("none", ResponseCode.FORMERR.name)
        question = write_name(name) + qtype.to_bytes(2) + b"\0\1"
        query = Query(b"\0\0", 0, fold(name), qtype, 1, question)
        answer = decide(self.table, sandbox, query)
        if answer is None:
            servers = tuple(
                f"{server.side.value}({server.address})" for server in self._servers(sandbox.view)
            )
            rcode = ResponseCode.NOERROR if servers else ResponseCode.SERVFAIL
            return LookupReport("forward", rcode.name, servers=servers)
        records = tuple(_render_record(*record) for record in answer.records)
        return LookupReport("names", answer.rcode.name, records)

    def report(self, unreachable: dict[str, str]) -> StatsReport:
        """Return the counters and sizes; `unreachable` says where the caller cannot listen."""
        counters = {name: getattr(self.counters, name) for name in Counters.__slots__}
        counters["in_flight"] = self._forwarder.in_flight
        counters["upstream_timeouts"] = self._forwarder.timeouts
        networks = self.table.networks
        return StatsReport(
            revision=self.revision,
            sandboxes=len(self.table.sandboxes),
            networks=len(networks),
            endpoints=sum(len(index.endpoints) for index in networks.values()),
            counters=counters,
            unreachable=unreachable,
        )

    # -- inside --------------------------------------------------------------------------------

    def _settle(self, touched: Touched, revision: int, before: set[str]) -> list[Step[C]]:
        self.revision = revision
        steps: list[Step[C]] = []
        for gone in before - self.table.sandboxes.keys():
            self._clear(gone)
            self._answers.pop(gone, None)
            steps += self._forwarder.drop_sandbox(gone)
        for sandbox_id in self._answers:
            box = self.table.sandboxes.get(sandbox_id)
            if (
                touched.everything
                or box is None
                or sandbox_id in touched.sandboxes
                or not touched.networks.isdisjoint(box.view.networks)
            ):
                self._clear(sandbox_id)
        return steps

    def _clear(self, sandbox_id: str) -> None:
        answers = self._answers.get(sandbox_id)
        if answers:
            answers.clear()

    def _bodies(self, query: Query, answer: Answer, limit: int) -> tuple[bytes, ...]:
        """Render the answer once, or once per rotation, starting where the last name stopped."""
        near, far = answer.records[: answer.near], answer.records[answer.near :]
        rotations = 1
        if len(answer.records) > 1 and query.qtype in (RecordType.A, RecordType.AAAA):
            rotations = min(lcm(len(near) or 1, len(far) or 1), MAX_ROTATIONS)
        self._turn += 1
        bodies = []
        for index in range(rotations):
            records = answer.records
            if rotations > 1:
                records = _rotated(near, self._turn, index, rotations)
                records += _rotated(far, self._turn, index, rotations)
            body = build_body(
                query,
                answer.rcode,
                records,
                ttl_s=TTL_S,
                limit=limit,
                authoritative=answer.authoritative,
            )
            bodies.append(body)
        if bodies[0][0] & 0x02:
            self.counters.truncated += 1
        return tuple(bodies)

    def _keep(self, sandbox_id: str, key: bytes, bodies: tuple[bytes, ...]) -> None:
        # Counts what was kept since the last sweep, not what is held: never more than the limit.
        if self._cached + len(bodies) > MAX_CACHED_BODIES:
            for answers in self._answers.values():
                answers.clear()
            self._cached = 0
        self._cached += len(bodies)
        # The first has just been sent.
        self.answers(sandbox_id)[key] = cycle(bodies[1:] + bodies[:1])

    def _reply(self, query: Query, answer: Answer, client: C, limit: int) -> list[Step[C]]:
        self.counters.refused += answer.rcode == ResponseCode.REFUSED
        return [Deliver(client, query.id + self._bodies(query, answer, limit)[0])]

    def _servers(self, view: SandboxView) -> tuple[UpstreamServer, ...]:
        servers = view.servers + (self._host_servers if view.use_host_servers else ())
        usable = [
            server
            for server in servers
            if (view.external or server.side is ServerSide.CONTAINER) and not self._is_us(server)
        ]
        return tuple(usable[:MAX_SERVERS])

    def _is_us(self, server: UpstreamServer) -> bool:
        """Whether a server is plainly this process. 127.0.0.11 on the host may be someone else's:

        Carrick may itself run inside a container of Docker's, or of another Carrick.
        """
        # At another port it is another one: Docker's own resolver, in a container of Docker's.
        if server.address != LISTEN_ADDRESS or server.port != DNS_PORT:
            return False
        return server.side is ServerSide.CONTAINER or self._host_is_sandbox

    def _forward(
        self, sandbox: Sandbox, query: Query, wire: bytes, client: C, *, tcp: bool, now: float
    ) -> list[Step[C]]:
        self.counters.forwarded += 1
        servers = self._servers(sandbox.view)
        key = sandbox.view.sandbox_id
        return self._count(self._forwarder.start(key, servers, query, wire, client, tcp=tcp, now=now))

    def _count(self, steps: list[Step[C]]) -> list[Step[C]]:
        for step in steps:
            if isinstance(step, Deliver):
                rcode = step.reply[3] & 0xF
                self.counters.failures += rcode == ResponseCode.SERVFAIL
                self.counters.refused += rcode == ResponseCode.REFUSED
                self.counters.truncated += bool(step.reply[2] & 0x02)
        return steps


def _rotated(
    records: tuple[tuple[int, bytes], ...], turn: int, index: int, rotations: int
) -> tuple[tuple[int, bytes], ...]:
    """Return the records in the order of one of so many rotations; too few are spread over all records."""
    if not records:
        return records
    step = index if rotations >= len(records) else index * len(records) // rotations
    first = (turn + step) % len(records)
    return records[first:] + records[:first]


def _render_record(rtype: int, data: bytes) -> str:
    if rtype == RecordType.PTR:
        return render_text(read_name(data, 0)[0])
    return str(ip_address(data))
