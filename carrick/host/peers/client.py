"""The client of the node API. Nothing secret leaves before the other side has proved who it is.

A node that has not joined yet knows the hash of the authority's key, from its token: `fetch_authority` gets
the certificate from whoever answers and checks that. Everything else is TLS against this certificate; and
where it is known which node it must be, the node's id, which is a name in its certificate.
"""

import hmac
import ssl
import time
from datetime import UTC, datetime
from typing import Self, TypeVar

import aiohttp

from ...model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    NotFound,
    Unavailable,
    Unsupported,
)
from ..pki import Identity, fingerprint
from ..pki.identity import pinned_context
from .addresses import HostPort
from .wire import CA_PATH, MAX_BODY, PING_PATH, Authority, Failure, Pong, decode, encode

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 15.0
_LONGEST_MESSAGE = 500
_ERRORS: dict[int, type[CarrickError]] = {
    400: InvalidRequest,
    403: Denied,
    404: NotFound,
    409: Conflict,
    501: Unsupported,
    503: Unavailable,
}
_TLS_REMEDY = "check that the address is a member's, that both clocks are right, and `carrick cluster info`"


async def fetch_authority(server: HostPort, sha256: str) -> bytes:
    """Return the authority's certificate (PEM) from a member, checked against the hash of its key.

    Denied if it is another one: nothing was said to that host but the question.
    """
    async with NodeClient(pinned_context()) as client:
        answer = await client.call("GET", server, CA_PATH, Authority)
    pem = answer.ca.encode()
    try:
        found = fingerprint(pem)
    except InvalidRequest as error:
        raise Unavailable(f"{server} does not speak the node API: {error}") from error
    if not hmac.compare_digest(found, sha256):
        raise Denied(
            f"{server} is not of the cluster that the token is for: its authority is another one. "
            "The token's secret was not sent",
            remedy="check the address, and that nobody sits in between; or make a token on that host",
        )
    return pem


def joining_context(ca_pem: bytes) -> ssl.SSLContext:
    """Return TLS for a client without a certificate of its own: any node of this authority will do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(cadata=ca_pem.decode())
    return context


class NodeClient:
    """Calls to nodes, with one TLS identity. Connections are kept for a while and used again."""

    def __init__(self, context: ssl.SSLContext, *, identity: Identity | None = None) -> None:
        self._any = context
        self._identity = identity
        self._exact: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Return the client of a member. Denied if its certificate has ended or cannot be used."""
        return cls(_context_of(identity), identity=identity)

    async def reload(self) -> None:
        """Use the files as they are now: after a renewal."""
        if self._identity is not None:
            self._any, self._exact = _context_of(self._identity), None
        await self.aclose()

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def call(
        self,
        method: str,
        server: HostPort,
        path: str,
        kind: type[T],
        body: object = None,
        *,
        node: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> T:
        """Return what a node answers. With `node` it must be that one, which the handshake checks.

        Raises Unavailable naming the address if it cannot be reached, Denied if it is not who it should be
        or does not let us in, else what it refuses with.
        """
        if self._identity is not None and self._identity.ends() <= datetime.now(UTC):
            raise _ended(self._identity)
        context = self._exactly() if node else self._any
        try:
            async with self._open().request(
                method,
                f"https://{server}{path}",
                data=None if body is None else encode(body),
                headers={} if body is None else {"Content-Type": "application/json"},
                ssl=context,
                server_hostname=node or None,
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                data = await _read(response, server)
                status = response.status
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise _distrusted(server, node, error) from error
        except aiohttp.ClientConnectorError as error:
            raise _unreachable(server, _reason(error.os_error)) from error
        except aiohttp.InvalidURL as error:
            raise InvalidRequest(f"{server} is not an address") from error
        except TimeoutError as error:
            raise _unreachable(server, f"no answer within {timeout_s:g} seconds") from error
        except (aiohttp.ClientError, OSError) as error:
            if (alert := _alert_of(error)) is not None:
                raise _refused_us(server, alert) from error
            raise Unavailable(
                f"the node API at {server} closed the connection without an answer: {_reason(error)}",
                # Who does not accept a certificate has no time to say so.
                remedy="try again; if it stays so, check both clocks, and when this node's certificate ends",
            ) from error
        if status != 200:
            raise _failure(server, path, status, data)
        try:
            return decode(data, kind, f"the answer of {server}")
        except InvalidRequest as error:
            raise Unavailable(
                f"{server} does not speak the node API: {error}", remedy="check host and port"
            ) from error

    async def ping(self, server: HostPort, node: str) -> tuple[Pong, float]:
        """Return what a node says of itself, and the round-trip time in seconds of a warm connection."""
        await self.call("GET", server, PING_PATH, Pong, node=node)
        began = time.monotonic()
        pong = await self.call("GET", server, PING_PATH, Pong, node=node)
        return pong, time.monotonic() - began

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=64, limit_per_host=4, keepalive_timeout=20)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session

    def _exactly(self) -> ssl.SSLContext:
        """Return TLS that checks the server's name, which is the node's id."""
        if self._exact is None:
            assert self._identity is not None, "only members know whom to expect"
            self._exact = _context_of(self._identity)
            self._exact.check_hostname = True
        return self._exact


def _context_of(identity: Identity) -> ssl.SSLContext:
    try:
        return identity.client_context()
    except (OSError, ssl.SSLError) as error:
        raise Denied(
            f"this node's certificate in {identity.directory} cannot be used: {error.strerror or error}",
            remedy="leave the cluster with --force and join again",
        ) from error


async def _read(response: aiohttp.ClientResponse, server: HostPort) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_BODY:
            raise Unavailable(f"{server} answers more than {MAX_BODY} bytes: it does not speak the node API")
    return bytes(data)


def _failure(server: HostPort, path: str, status: int, data: bytes) -> CarrickError:
    """Return the error that an answer is; its text is another host's, so it is cut and made plain."""
    try:
        failure = decode(data, Failure, "the answer")
    except InvalidRequest:
        failure = Failure(f"status {status} and no explanation")
    message, remedy = _plain(failure.message), _plain(failure.remedy) or None
    if status == 404 and "page not found" in message:
        return Unsupported(
            f"{server} does not know {path}: it runs another version", remedy="bring both to one"
        )
    return _ERRORS.get(status, Failed)(f"{server}: {message}", remedy=remedy)


def _plain(text: str) -> str:
    return "".join(item if item.isprintable() else " " for item in text[:_LONGEST_MESSAGE]).strip()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _unreachable(server: HostPort, reason: str) -> Unavailable:
    return Unavailable(
        f"cannot reach the node API at {server}: {reason}",
        remedy="check the address, that carrickd runs there in a cluster, and that no firewall is in between",
    )


def _distrusted(server: HostPort, node: str, error: aiohttp.ClientConnectorError) -> CarrickError:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    cause: BaseException = inner if isinstance(inner, BaseException) else error
    if (alert := _alert_of(cause)) is not None:
        return _refused_us(server, alert)
    whom = f"node {node}" if node else "a node of the cluster"
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = cause.verify_message or str(cause)
        return Denied(f"{server} is not {whom}: {why}", remedy=_TLS_REMEDY)
    return _unreachable(server, f"TLS failed: {_reason(cause)}")


def _alert_of(error: BaseException) -> str | None:
    """Return the other side's TLS alert about our certificate, as text; None if it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if isinstance(seen, ssl.SSLError) and "ALERT" in text and "CERT" in text:
            return "the certificate has ended" if "EXPIRED" in text else "the certificate is not accepted"
        seen = seen.__cause__
    return None


def _refused_us(server: HostPort, why: str) -> Denied:
    return Denied(
        f"{server} refuses this node: {why}",
        remedy="check this host's clock; else leave the cluster with --force and join again",
    )


def _ended(identity: Identity) -> Denied:
    return Denied(
        f"this node's certificate ended at {identity.ends():%Y-%m-%d %H:%M} UTC",
        remedy="check this host's clock; else leave the cluster with --force and join again",
    )
