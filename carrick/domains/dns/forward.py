"""Forwarding, without I/O: what to ask which upstream server, when to go on, and when to give up.

One *flight* is one question under way for one sandbox; its *attempts* are the servers asked so far.
The caller carries out the steps that each method returns and reports what happens back.

- Servers are asked in order. SERVFAIL, REFUSED and errors go on to the next at once, silence after
  `NEXT_AFTER_S`; earlier servers may still answer meanwhile. NXDOMAIN is final. When all have
  failed the client gets SERVFAIL.
- The client's bytes go out unchanged but for a fresh random id. A reply counts if id and question
  are those sent; the caller's socket is connected, so the kernel checks the source.
- Equal questions of one sandbox share a flight. It saves traffic, and it ends loops: a question
  that comes back to us joins the flight it belongs to and dies with it, instead of going round.
- That a server leads back to us is then *proven*: when an attempt times out while the same question
  is asked more than once, the server gets a probe, a query for a random name; if a sandbox is
  asked for that name, the server loops, and is left out for `LOOP_HOLD_S` (what dnsmasq's
  `--dns-loop-detect` does at every start, done only on suspicion).
- At most `MAX_IN_FLIGHT` questions are under way. One sandbox may hold as many as are still free
  (the dynamic threshold of shared-memory switches), so one busy sandbox gets half and cannot shut
  the others out. Beyond that: REFUSED.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .answer import LOOP_PROBE_SUFFIX
from .message import CLASS_IN, HEADER, RD, RecordType, ResponseCode
from .names import MalformedMessage, fold, read_name, write_name
from .query import Query, build_body, truncate
from .zone import ServerSide, UpstreamServer

MAX_IN_FLIGHT = 2048
MAX_SERVERS = 3
NEXT_AFTER_S = 2.0
GIVE_UP_AFTER_S = 4.0
"""How long the last server may take; Docker's figure for each."""
LOOP_HOLD_S = 60.0
PROBE_EVERY_S = 60.0
_PROBE_BYTES = 10

C = TypeVar("C")
"""The caller's handle of a client; carried, never looked into."""
_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send `payload` to the server from a new socket, in the sandbox's namespace or the host's."""

    flight: int
    attempt: int
    sandbox_id: str
    server: UpstreamServer
    tcp: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Deliver(Generic[C]):
    """Give the client its reply."""

    client: C
    reply: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """The flight is over: close its sockets."""

    flight: int


@dataclass(frozen=True, slots=True)
class Warn:
    """Something for the log; said once per cause and minute."""

    text: str


Step = Ask | Deliver[C] | Close | Warn
_Scope = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class _Waiter(Generic[C]):
    client: C
    query: Query


@dataclass(slots=True)
class _Attempt:
    server: UpstreamServer
    txid: bytes
    done: bool = False


@dataclass(slots=True)
class _Flight(Generic[C]):
    key: tuple[str, bool, bytes]
    sandbox_id: str
    tcp: bool
    wire: bytes
    question: bytes
    todo: list[UpstreamServer]
    waiters: list[_Waiter[C]] = field(default_factory=list)
    attempts: list[_Attempt] = field(default_factory=list)
    deadline: float = 0.0


class Forwarder(Generic[C]):
    """All flights of the process. `random_bytes` gives ids and probe names (`os.urandom`, in life)."""

    def __init__(self, random_bytes: Callable[[int], bytes], *, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        self._random = random_bytes
        self._max = max_in_flight
        self._flights: dict[int, _Flight[C]] = {}
        self._by_key: dict[tuple[str, bool, bytes], int] = {}
        self._waiting: Counter[str] = Counter()
        self._total = 0
        self._questions: Counter[bytes] = Counter()
        self._deadlines: list[tuple[float, int]] = []
        self._serial = 0
        self._probes: dict[bytes, tuple[_Scope, float]] = {}
        self._looping: dict[_Scope, float] = {}
        self.timeouts = 0

    @property
    def in_flight(self) -> int:
        """How many clients are waiting for an answer from upstream."""
        return self._total

    def start(
        self,
        sandbox_id: str,
        servers: tuple[UpstreamServer, ...],
        query: Query,
        wire: bytes,
        client: C,
        *,
        tcp: bool,
        now: float,
    ) -> list[Step[C]]:
        """Take a client's question. `wire` is the whole query as it came."""
        if self._waiting[sandbox_id] >= self._max - self._total:
            return [Deliver(client, query.id + build_body(query, ResponseCode.REFUSED))]
        todo = [server for server in servers if not self._loops(sandbox_id, server, now)]
        if not todo:
            return [Deliver(client, query.id + build_body(query, ResponseCode.SERVFAIL))]
        name_end = HEADER.size + len(query.question) - 4
        key = (sandbox_id, tcp, wire[2:12] + wire[12:name_end].lower() + wire[name_end:])
        self._waiting[sandbox_id] += 1
        self._total += 1
        self._questions[_asked(query.question)] += 1
        waiter = _Waiter(client, query)
        joined = self._by_key.get(key)
        if joined is not None:
            self._flights[joined].waiters.append(waiter)
            return []
        flight = _Flight[C](key, sandbox_id, tcp, wire, query.question, todo[:MAX_SERVERS])
        flight.waiters.append(waiter)
        number = self._add(flight)
        self._by_key[key] = number
        return self._next(number, flight, now)

    def on_reply(self, number: int, attempt: int, reply: bytes, now: float) -> list[Step[C]]:
        """Take what came from a server. What does not belong to the attempt is ignored."""
        flight = self._flights.get(number)
        if flight is None or flight.attempts[attempt].done:
            return []
        if not _belongs(reply, flight.attempts[attempt].txid, flight.question):
            return []
        if reply[3] & 0xF in (ResponseCode.SERVFAIL, ResponseCode.REFUSED):
            return self.on_error(number, attempt, now)
        return self._finish(number, flight, reply)

    def on_error(self, number: int, attempt: int, now: float) -> list[Step[C]]:
        """The server cannot be reached or closed without an answer: go on to the next."""
        flight = self._flights.get(number)
        if flight is None or flight.attempts[attempt].done:
            return []
        flight.attempts[attempt].done = True
        if flight.todo:
            return self._next(number, flight, now)
        if all(asked.done for asked in flight.attempts):
            return self._finish(number, flight, None)
        return []

    def expire(self, now: float) -> list[Step[C]]:
        """Go on with every flight whose time is up."""
        steps: list[Step[C]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            when, number = heapq.heappop(self._deadlines)
            flight = self._flights.get(number)
            if flight is None or flight.deadline != when:
                continue
            self.timeouts += 1
            if self._questions[_asked(flight.question)] > 1:
                steps += self._probe(flight, now)
            if flight.todo:
                steps += self._next(number, flight, now)
            else:
                steps += self._finish(number, flight, None)
        return steps

    def next_deadline(self) -> float | None:
        """When `expire` wants to be called, on the clock of `now`."""
        while self._deadlines:
            when, number = self._deadlines[0]
            flight = self._flights.get(number)
            if flight is not None and flight.deadline == when:
                return when
            heapq.heappop(self._deadlines)
        return None

    def drop_sandbox(self, sandbox_id: str) -> list[Step[C]]:
        """Forget every flight of a sandbox that is gone; its clients get nothing."""
        steps: list[Step[C]] = []
        for number, flight in list(self._flights.items()):
            if flight.sandbox_id == sandbox_id:
                self._remove(number, flight)
                steps.append(Close(number))
        return steps

    def on_probe_seen(self, nonce: bytes, now: float) -> list[Step[C]]:
        """A sandbox was asked for a probe's name: the server it was sent to leads back to us."""
        scope, until = self._probes.pop(nonce, (None, 0.0))
        if scope is None or until <= now:
            return []
        self._looping[scope] = now + LOOP_HOLD_S
        sandbox_id, address, port = scope
        whose = f"of sandbox {sandbox_id[:12]} " if sandbox_id else ""
        steps: list[Step[C]] = [
            Warn(
                f"name server {address} port {port} {whose}sends our questions back to us; it is"
                f" left out for {LOOP_HOLD_S:.0f} s. Point it, or --dns, at another server"
            )
        ]
        for number, flight in list(self._flights.items()):
            for index, attempt in enumerate(flight.attempts):
                if _scope(flight.sandbox_id, attempt.server) == scope:
                    steps += self.on_error(number, index, now)
        return steps

    # -- inside ------------------------------------------------------------------------------

    def _add(self, flight: _Flight[C]) -> int:
        self._serial += 1
        self._flights[self._serial] = flight
        return self._serial

    def _next(self, number: int, flight: _Flight[C], now: float) -> list[Step[C]]:
        server = flight.todo.pop(0)
        attempt = _Attempt(server, self._random(2))
        flight.attempts.append(attempt)
        flight.deadline = now + (NEXT_AFTER_S if flight.todo else GIVE_UP_AFTER_S)
        heapq.heappush(self._deadlines, (flight.deadline, number))
        payload = attempt.txid + flight.wire[2:]
        index = len(flight.attempts) - 1
        return [Ask(number, index, flight.sandbox_id, server, flight.tcp, payload)]

    def _finish(self, number: int, flight: _Flight[C], reply: bytes | None) -> list[Step[C]]:
        self._remove(number, flight)
        steps: list[Step[C]] = [Close(number)]
        steps += [Deliver(w.client, _fit(reply, w.query, flight.tcp)) for w in flight.waiters]
        return steps

    def _remove(self, number: int, flight: _Flight[C]) -> None:
        del self._flights[number]
        if not flight.waiters:
            return
        del self._by_key[flight.key]
        count = len(flight.waiters)
        self._total -= count
        _subtract(self._waiting, flight.sandbox_id, count)
        _subtract(self._questions, _asked(flight.question), count)

    def _loops(self, sandbox_id: str, server: UpstreamServer, now: float) -> bool:
        if not self._looping:
            return False
        scope = _scope(sandbox_id, server)
        until = self._looping.get(scope, 0.0)
        if 0.0 < until <= now:
            del self._looping[scope]
        return until > now

    def _probe(self, flight: _Flight[C], now: float) -> list[Step[C]]:
        """Ask the server that has been silent for a name that only we can be asked for."""
        self._probes = {k: probe for k, probe in self._probes.items() if probe[1] > now}
        server = flight.attempts[-1].server
        scope = _scope(flight.sandbox_id, server)
        if not flight.waiters or any(known == scope for known, _ in self._probes.values()):
            return []
        nonce = self._random(_PROBE_BYTES).hex().encode()
        self._probes[nonce] = (scope, now + PROBE_EVERY_S)
        question = write_name((nonce, *LOOP_PROBE_SUFFIX)) + RecordType.A.to_bytes(2)
        question += CLASS_IN.to_bytes(2)
        wire = HEADER.pack(0, RD, 1, 0, 0, 0) + question
        key = (flight.sandbox_id, False, wire)
        probe = _Flight[C](key, flight.sandbox_id, False, wire, question, [server])
        return self._next(self._add(probe), probe, now)


def _subtract(counter: Counter[_K], key: _K, count: int) -> None:
    counter[key] -= count
    if counter[key] <= 0:
        del counter[key]


def _scope(sandbox_id: str, server: UpstreamServer) -> _Scope:
    inside = server.side is ServerSide.CONTAINER
    return (sandbox_id if inside else "", server.address, server.port)


def _asked(question: bytes) -> bytes:
    """A question as it is compared between messages: letters lowered, type and class kept."""
    return question[:-4].lower() + question[-4:]


def _belongs(reply: bytes, txid: bytes, question: bytes) -> bool:
    """Whether the bytes are a response to exactly this question (RFC 5452, section 9.1)."""
    if len(reply) < HEADER.size or reply[:2] != txid or not reply[2] & 0x80:
        return False
    if reply[4:6] == b"\0\0":
        # Some servers leave the question out of an error; never out of an answer.
        return reply[3] & 0xF != 0 and reply[6:8] == b"\0\0"
    if reply[4:6] != b"\0\1":
        return False
    end = HEADER.size + len(question)
    if _asked(reply[HEADER.size : end]) == _asked(question):
        return True
    try:
        # A compressed question cannot be valid, but say so by parsing, not by guessing.
        name, offset = read_name(reply, HEADER.size)
        sent, _ = read_name(question, 0)
    except MalformedMessage:
        return False
    return fold(name) == fold(sent) and reply[offset : offset + 4] == question[-4:]


def _fit(reply: bytes | None, query: Query, tcp: bool) -> bytes:
    """Make an upstream's reply this client's: its id, its letters' case, and no more than fits."""
    if reply is None:
        return query.id + build_body(query, ResponseCode.SERVFAIL)
    if not tcp and len(reply) > query.udp_size:
        return truncate(reply, query)
    end = HEADER.size + len(query.question)
    if reply[4:6] == b"\0\1" and _asked(reply[HEADER.size : end]) == _asked(query.question):
        return query.id + reply[2 : HEADER.size] + query.question + reply[end:]
    return query.id + reply[2:]
