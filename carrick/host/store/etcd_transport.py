"""The way to an etcd cluster: which member, over what connection, as whom, and what to do when that fails.

One connection to one member is used for everything, and the next member is taken when it fails. When none
answers, the next round of attempts waits, longer each time and by a random share of that (full jitter),
whoever asks and however often: an outage costs etcd and this machine a few connections a minute, and the
nodes of a cluster do not all come back in the same moment. Everyone who waits shares the result of a round.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from ...model.errors import CarrickError, Denied, Unavailable
from . import etcd_wire as wire
from .contract import OutcomeUnknown
from .etcd_call import Call, CallFailed, Carrier, Code
from .etcd_config import Endpoint, EtcdConfig
from .etcd_errors import AUTH_IS_OFF, Remedy, error_of, remedy_of
from .etcd_grpc import ConnectFailed, GrpcConnection, Headers, connect

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
_GRACE_S = 1.0
"""How long a lost connection is no outage yet: another member takes less."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_REPEAT_PAUSE_S = 0.1
_LONGEST_REPEAT_PAUSE_S = 2.0

Connect = Callable[[Endpoint, ssl.SSLContext | None], Awaitable[GrpcConnection]]


class EtcdTransport:
    """Calls to an etcd cluster. Connects at the first call, and again whenever that is needed."""

    def __init__(
        self,
        config: EtcdConfig,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        connect: Connect | None = None,
    ) -> None:
        self._config = config
        self._random = rng or random.SystemRandom()
        self._clock = clock
        self._connect = connect or _connect
        # Clients that all have the same configuration spread over the members.
        self._endpoints = list(config.endpoints)
        self._random.shuffle(self._endpoints)
        self._current: GrpcConnection | None = None
        self._former: set[GrpcConnection] = set()
        self._connecting = asyncio.Lock()
        self._rounds = 0
        self._failed_rounds = 0
        # When the connection was lost that nothing has replaced yet, 0 otherwise.
        self._lost_at = 0.0
        self._next_round = 0.0
        self._problems: dict[Endpoint, str] = {}
        self._token = ""
        self._needs_token = bool(config.user)
        self._logging_in = asyncio.Lock()
        self._closed = asyncio.Event()
        self.on_connected: Callable[[], None] = lambda: None

    @property
    def outage(self) -> str:
        """Why no member answers, as of the last attempt; "" while one does, or may in a moment."""
        lost_for_s = self._clock() - self._lost_at if self._lost_at else 0.0
        return self._describe_problems() if self._failed_rounds or lost_for_s > _GRACE_S else ""

    @property
    def user(self) -> str:
        return self._config.user

    async def call(self, method: str, request: bytes, *, repeatable: bool) -> bytes:
        """Return the answer to one request, trying other members and logging in again as needed.

        Raises CallFailed where etcd refused the request itself, Unavailable, Denied, and OutcomeUnknown if
        the request is not `repeatable` and nobody knows whether it was carried out.
        """
        deadline = self._clock() + self._config.request_timeout_s
        attempts = 0
        logged_in_again = False
        while True:
            connection = await self._connection(deadline)
            attempts += 1
            token = ""
            try:
                token = await self._log_in(connection)
                return await self._ask(connection, method, request, token, deadline, repeatable=repeatable)
            except CallFailed as failure:
                match remedy_of(failure):
                    case Remedy.LOG_IN_AGAIN if self._config.user and not logged_in_again:
                        logged_in_again = True
                        self._forget(token)
                        continue
                    case Remedy.REPEAT:
                        pass
                    case Remedy.UNCERTAIN if not repeatable:
                        raise OutcomeUnknown(f"the etcd at {connection.endpoint}", failure.text) from failure
                    case Remedy.UNCERTAIN:
                        pass
                    case _:
                        failure.where = str(connection.endpoint)
                        raise
                self.distrust(connection, failure.text)
                if attempts % len(self._endpoints) == 0:
                    await self._pause(attempts // len(self._endpoints), deadline, failure)

    async def open(self, method: str) -> Call:
        """Begin a call whose answers keep coming. Raises CallFailed, Unavailable and Denied."""
        deadline = self._clock() + self._config.request_timeout_s
        connection = await self._connection(deadline)
        token = await self._log_in(connection)
        return connection.open(method, self._metadata(token))

    def is_current(self, connection: Carrier) -> bool:
        """Whether new calls go over this connection."""
        return connection is self._usable()

    def forget_token(self) -> None:
        """Log in again for the next call."""
        self._forget(self._token)

    def distrust(self, connection: Carrier, problem: str) -> None:
        """Ask another member from now on, if there is one. Watches stay where they are while they work."""
        current = self._current
        if len(self._endpoints) == 1 or current is None or current is not connection:
            return
        self._note(current.endpoint, problem)
        self._current = None
        if current.is_idle:
            current.close(problem)
        elif current.lost is None:
            self._former.add(current)

    def refusal(self, failure: CallFailed) -> CarrickError:
        """Return the error for a call that `call` gave up on."""
        return error_of(failure, failure.where or "?", self._config.user)

    async def aclose(self) -> None:
        self._closed.set()
        if self._current is not None:
            self._current.close("the store was closed")
        for connection in tuple(self._former):
            connection.close("the store was closed")
        self._former.clear()

    # Connections --------------------------------------------------------------------------------

    async def _connection(self, deadline: float) -> GrpcConnection:
        """Return the connection, or a new one by the deadline. Raises Unavailable."""
        if (current := self._usable()) is not None:
            return current
        came_at = self._rounds
        async with self._by(deadline), self._connecting:
            if (current := self._usable()) is not None:
                return current
            if self._rounds > came_at:
                raise self._unavailable()  # a whole round was made, and failed, while this waited
            if self._closed.is_set():
                raise Unavailable("the store is closed")
            pause_s = self._next_round - self._clock()
            if pause_s > 0:
                if self._clock() + pause_s > deadline:
                    raise self._unavailable()
                await self._sleep(pause_s)
            return await self._round()

    async def _round(self) -> GrpcConnection:
        """Try every member once. Raises Unavailable naming each with its reason."""
        self._rounds += 1
        for former in tuple(self._former):
            if former.is_idle:
                former.close("it was replaced")
        for endpoint in tuple(self._endpoints):
            try:
                connection = await self._connect(endpoint, self._tls())
            except ConnectFailed as error:
                self._note(endpoint, str(error))
                continue
            if self._closed.is_set():
                connection.close("the store was closed")
                raise Unavailable("the store is closed")
            if self._failed_rounds:
                _log.info("etcd: connected to %s again", endpoint)
            self._failed_rounds = 0
            self._lost_at = 0.0
            self._problems.pop(endpoint, None)
            self._current = connection
            connection.on_lost = partial(self._lost, connection)
            self.on_connected()
            return connection
        if not self._failed_rounds:
            _log.warning("etcd: %s", self._describe_problems())
        self._back_off()
        raise self._unavailable()

    def _usable(self) -> GrpcConnection | None:
        current = self._current
        return current if current is not None and current.lost is None and not self._closed.is_set() else None

    def _lost(self, connection: GrpcConnection) -> None:
        self._former.discard(connection)
        if self._closed.is_set():
            return
        self._note(connection.endpoint, connection.lost or "")
        if self._current is connection:
            self._current = None
            self._lost_at = self._clock()
            _log.info("etcd: lost the connection to %s: %s", connection.endpoint, connection.lost)
            # Not at once: everybody else has lost it in the same moment.
            self._next_round = self._clock() + self._random.uniform(0, _FIRST_PAUSE_S)

    def _note(self, endpoint: Endpoint, problem: str) -> None:
        """Remember why a member was of no use, and ask it last."""
        self._problems[endpoint] = problem
        self._endpoints.remove(endpoint)
        self._endpoints.append(endpoint)

    def _back_off(self) -> None:
        self._failed_rounds += 1
        longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failed_rounds, 16))
        self._next_round = self._clock() + self._random.uniform(_REPEAT_PAUSE_S, longest_s)

    def _tls(self) -> ssl.SSLContext | None:
        config = self._config
        if not config.endpoints[0].tls:
            return None
        try:
            context = ssl.create_default_context(cafile=config.cacert)
            if config.cert:
                context.load_cert_chain(config.cert, config.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(path) for path in (config.cacert, config.cert, config.key) if path)
            raise Denied(
                f"cannot use the certificates for etcd ({files}): {error.strerror or error}",
                remedy="check that the files are there, readable, PEM, and that the key is the certificate's",
            ) from error
        context.set_alpn_protocols(["h2"])
        return context

    def _unavailable(self) -> Unavailable:
        remedy = "check that etcd runs and can be reached"
        problems = " ".join(self._problems.values())
        if "certificate" in problems:
            remedy = "check cacert, cert and key, the certificates' dates, and this machine's clock"
        elif "TLS" in problems or "closed the connection" in problems or "reset the connection" in problems:
            other = (
                "http:// in the endpoints if etcd is not"
                if self._endpoints[0].tls
                else ("https:// in the endpoints if etcd is")
            )
            remedy = f"write {other} encrypted; look at etcd's log"
        return Unavailable(self._describe_problems(), remedy=remedy)

    def _describe_problems(self) -> str:
        reasons = [
            f"{endpoint} ({self._problems.get(endpoint, 'not tried')})" for endpoint in self._config.endpoints
        ]
        return f"no etcd endpoint answers: {', '.join(reasons)}"

    # Calls --------------------------------------------------------------------------------------

    async def _ask(
        self,
        connection: GrpcConnection,
        method: str,
        request: bytes,
        token: str,
        deadline: float,
        *,
        repeatable: bool,
    ) -> bytes:
        remaining_s = max(0.05, deadline - self._clock())
        if repeatable and len(self._endpoints) > 1:
            # A member that hears and does not answer must leave time to ask the others.
            remaining_s = min(remaining_s, max(1.0, self._config.request_timeout_s / len(self._endpoints)))
        metadata = self._metadata(token)
        metadata.append(("grpc-timeout", f"{max(1, int(remaining_s * 1000))}m"))
        call = connection.open(method, metadata)
        try:
            async with asyncio.timeout(remaining_s):
                await call.send(request, end=True)
                answer = await call.receive()
                if answer is None:
                    raise CallFailed(Code.UNKNOWN, "it answered nothing")
                await call.receive()  # the status: an answer without a good one does not count
                return answer
        except TimeoutError:
            raise CallFailed(Code.DEADLINE_EXCEEDED, f"no answer within {remaining_s:.1f} seconds") from None
        finally:
            call.cancel()

    def _metadata(self, token: str) -> Headers:
        # A member that has lost the majority says so at once, instead of letting the call run into its
        # timeout.
        metadata = [("hasleader", "true")]
        if token:
            metadata.append(("token", token))
        return metadata

    async def _pause(self, rounds: int, deadline: float, failure: CallFailed) -> None:
        """Wait before asking the same members again. Raises Unavailable if there is no time left for that."""
        longest_s = min(_LONGEST_REPEAT_PAUSE_S, _REPEAT_PAUSE_S * 2 ** min(rounds, 16))
        pause_s = self._random.uniform(_REPEAT_PAUSE_S / 2, longest_s)
        if self._clock() + pause_s >= deadline:
            raise Unavailable(
                f"etcd cannot serve now: {failure.text}", remedy="check `etcdctl endpoint health` and its log"
            ) from failure
        await self._sleep(pause_s)

    async def _sleep(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._closed.wait()
        except TimeoutError:
            return
        raise Unavailable("the store is closed")

    @asynccontextmanager
    async def _by(self, deadline: float) -> AsyncIterator[None]:
        """Bound what waits for a connection, one full round beyond the deadline at the most."""
        extra_s = CONNECT_TIMEOUT_S * len(self._endpoints)
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock()) + extra_s):
                yield
        except TimeoutError:
            raise self._unavailable() from None

    # Logging in ---------------------------------------------------------------------------------

    async def _log_in(self, connection: GrpcConnection) -> str:
        """Return the token, a new one if there is none. Raises CallFailed and Denied.

        One at a time: etcd spends 60 ms of its processor on each password.
        """
        if self._token or not self._needs_token:
            return self._token
        async with self._logging_in:
            return self._token or await self._new_token(connection)

    async def _new_token(self, connection: GrpcConnection) -> str:
        config = self._config
        assert config.password_file is not None
        try:
            password = config.password_file.read_text().rstrip("\r\n")
        except OSError as error:
            raise Denied(
                f"cannot read the password file for etcd, {config.password_file}: {error.strerror}",
                remedy="make it readable for carrickd, and for nobody else",
            ) from error
        request = wire.authenticate_request(config.user, password)
        deadline = self._clock() + config.request_timeout_s
        try:
            answer = await self._ask(connection, wire.AUTHENTICATE, request, "", deadline, repeatable=True)
        except CallFailed as failure:
            if AUTH_IS_OFF in failure.text:
                self._needs_token = False  # the user is configured before it is needed
                return ""
            if remedy_of(failure) is Remedy.GIVE_UP:
                raise error_of(failure, str(connection.endpoint), config.user) from failure
            raise CallFailed(failure.code, failure.text, untouched=True) from failure
        self._token = wire.read_token(answer)
        return self._token

    def _forget(self, token: str) -> None:
        if self._token == token:
            self._token = ""
            self._needs_token = bool(self._config.user)


async def _connect(endpoint: Endpoint, tls: ssl.SSLContext | None) -> GrpcConnection:
    return await connect(endpoint, tls, timeout_s=CONNECT_TIMEOUT_S)
