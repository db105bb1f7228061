"""A registry's HTTP API, version 2 (distribution-spec 1.0): a conversation that lasts for one operation.

Decides which scheme to use, how to log in, and what an error is called: in Docker's words. What is
asked for is the business of `pulling`, `pushing` and `registry_search`. See docs/adr/0006-registries.md.

Credentials are in memory and in headers alone, never in an error, a log or a command line.
"""

import asyncio
import contextlib
import ipaddress
import os
import ssl
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from ...model.errors import Failed, InvalidRequest
from .image_store import RegistryAuth
from .reference import DEFAULT_DOMAIN, Reference, is_loopback_host
from .registry_auth import Challenge, basic, parse_challenges, parse_tokens, token_request

_HUB = "registry-1.docker.io"
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
_PING_TIMEOUT = aiohttp.ClientTimeout(total=30)
_MAX_DOCUMENT = 4 * 1024 * 1024
"""As in Docker: manifests and configurations beyond this are refused."""

Body = Callable[[], Any]
"""Makes a request's body anew: it may have to be sent again."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """`insecure` are hosts (`name` or `name:port`) and networks (CIDR) that are also spoken to without
    TLS, or without checking its certificate; loopback always is. `certificates` is a directory
    with one for each registry, as Docker has it: HOST:PORT/{*.crt, *.cert, *.key}."""

    insecure: tuple[str, ...] = ()
    certificates: Path | None = None

    def allows_insecure(self, host: str) -> bool:
        """True for a registry that may be spoken to without TLS."""
        name = host_name(host)
        if is_loopback_host(name) or host in self.insecure or name in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in _networks(self.insecure))


def _networks(texts: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_network(text))
    return found


def host_name(host: str) -> str:
    """Return a registry's host without its port and brackets."""
    name, colon, port = host.rpartition(":")
    bare = name if colon and port.isdigit() else host
    return bare.strip("[]")


def registry_host(domain: str) -> str:
    """Return the host that serves a domain's images."""
    return _HUB if domain == DEFAULT_DOMAIN else domain


def login_host(server: str) -> str:
    """Return the host that a login's server address names: a host, or a URL, or "" for Docker's hub."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in ("", DEFAULT_DOMAIN, "index.docker.io", "registry-1.docker.io"):
        return _HUB
    return host


class RegistryProblem(Failed):
    """What a registry, or the way to it, refused. `code` is the registry's own, or ""; `status` 0 where
    there was no answer."""

    def __init__(self, message: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    @property
    def is_passing(self) -> bool:
        """True where trying again may help."""
        return self.status in (0, 429) or self.status >= 500


class _ErrorEntry(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_ErrorEntry] = msgspec.field(default_factory=list)
    details: str = ""
    message: str = ""


def problem_of(status: int, body: bytes) -> RegistryProblem:
    """Return the error for an answer of 400 and above."""
    try:
        told = msgspec.json.decode(body, type=_Errors)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _Errors()
    if told.errors:
        first = told.errors[0]
        words = first.code.replace("_", " ").lower()
        text = ": ".join(filter(None, (words, first.message)))
        return RegistryProblem(text or "unknown error", code=first.code, status=status)
    # Token servers answer like this.
    if text := told.details or told.message:
        prefix = "unauthorized: " if status == 401 else ""
        return RegistryProblem(prefix + text, status=status)
    if status == 401:
        return RegistryProblem("unauthorized: authentication required", code="UNAUTHORIZED", status=status)
    if status == 403:
        return RegistryProblem(
            "denied: requested access to the resource is denied", code="DENIED", status=status
        )
    return RegistryProblem(f"received unexpected HTTP status: {status_text(status)}", status=status)


def status_text(status: int) -> str:
    """Return `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def connection_problem(method: str, url: object, error: BaseException) -> RegistryProblem:
    """Return the error for a connection that failed or broke."""
    return RegistryProblem(f'{method.capitalize()} "{url}": {_cause(error)}')


def _cause(error: BaseException) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"tls: failed to verify certificate: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            number, host = error.os_error.errno, error.host
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                return f"dial tcp: lookup {host}: no such host"
            words = (error.os_error.strerror or str(error.os_error)).lower()
            place = f"[{host}]" if ":" in host else host
            step = "connect: " if number is not None and number > 0 else ""
            if number is not None and number > 0 and "connect call failed" in words:
                words = os.strerror(number).lower()
            return f"dial tcp {place}:{error.port}: {step}{words}"
        case TimeoutError():
            return "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | ConnectionResetError():
            return "unexpected EOF"
        case _:
            return str(error) or type(error).__name__


class RegistryClient:
    """Opens conversations. Keeps nothing between them."""

    def __init__(self, settings: RegistrySettings | None = None, *, user_agent: str = "carrick") -> None:
        self._settings = settings or RegistrySettings()
        self._user_agent = user_agent

    @contextlib.asynccontextmanager
    async def connect(
        self, host: str, auth: RegistryAuth | None = None, scopes: Iterable[str] = ()
    ) -> AsyncIterator["RegistrySession"]:
        """Open a conversation with the registry at `host[:port]`. Raises RegistryProblem."""
        is_insecure = self._settings.allows_insecure(host)
        context = await asyncio.to_thread(self._tls, host, is_insecure)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit_per_host=16),
            timeout=_TIMEOUT,
            auto_decompress=False,
            headers={"User-Agent": self._user_agent},
        ) as http:
            yield await self._ping(http, host, auth or RegistryAuth(), tuple(scopes), is_insecure)

    async def _ping(
        self,
        http: aiohttp.ClientSession,
        host: str,
        auth: RegistryAuth,
        scopes: tuple[str, ...],
        is_insecure: bool,
    ) -> "RegistrySession":
        """Find out whether it is HTTPS, and how it wants to be logged in to."""
        schemes = ("https", "http") if is_insecure else ("https",)
        problem: RegistryProblem | None = None
        for scheme in schemes:
            url = f"{scheme}://{host}/v2/"
            try:
                async with http.get(
                    _url(url), timeout=_PING_TIMEOUT, proxy=_proxy(URL(url)), allow_redirects=False
                ) as response:
                    if response.status >= 500:
                        raise problem_of(response.status, await read_document(response))
                    challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                    return RegistrySession(http, f"{scheme}://{host}", auth, challenges, scopes)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = connection_problem("GET", url, error)
                problem.__cause__ = error
        assert problem is not None
        raise problem

    def _tls(self, host: str, is_insecure: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        directory = self._settings.certificates / host if self._settings.certificates else None
        try:
            for file in sorted(directory.glob("*.crt")) if directory else ():
                context.load_verify_locations(file)
            for file in sorted(directory.glob("*.cert")) if directory else ():
                context.load_cert_chain(file, file.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise Failed(f"cannot read the certificates in {directory}: {error}") from error
        if is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class RegistrySession:
    """One registry, for one operation. `scopes` are what a token is asked for."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base: str,
        auth: RegistryAuth,
        challenges: tuple[Challenge, ...],
        scopes: tuple[str, ...],
    ) -> None:
        self.base = base
        self._http = http
        self._auth = auth
        self._challenges = challenges
        self._scopes = scopes
        self._authorization = ""
        self._lock = asyncio.Lock()
        """Guards the making of `_authorization`: many layers begin at once."""

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        accept: Iterable[int] = (),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; `path` begins with `/v2/`, or is a URL that the registry has given.

        Raises RegistryProblem for a status of 400 and above that is not in `accept`, and for a
        connection that breaks, in the `async with` block too.
        """
        url = path if path.startswith(("http://", "https://")) else f"{self.base}{path}"
        # Elsewhere (a cloud's object store) the URL itself carries the right to use it.
        is_own = URL(url).origin() == URL(self.base).origin()
        try:
            for is_last in (False, True):
                used = await self._authorize(method, url) if is_own else ""
                async with self._http.request(
                    method,
                    _url(url),
                    headers={**(headers or {}), **({"Authorization": used} if used else {})},
                    data=body() if body is not None else None,
                    proxy=_proxy(URL(url)),
                ) as response:
                    if response.status == 401 and is_own and not is_last and self._renew(response, used):
                        continue
                    if response.status >= 400 and response.status not in accept:
                        raise problem_of(response.status, await read_document(response))
                    yield response
                    return
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise connection_problem(method, url, error) from error

    def _renew(self, response: aiohttp.ClientResponse, used: str) -> bool:
        """Forget a token that has run out, or learn of a challenge; False if nothing is to be gained."""
        offered = parse_challenges(response.headers.getall("WWW-Authenticate", []))
        if not used:
            self._challenges = offered
            return bool(offered)
        if not used.startswith("Bearer ") or self._auth.registry_token:
            return False
        if self._authorization == used:
            self._authorization = ""
        return True

    async def _authorize(self, method: str, url: str) -> str:
        async with self._lock:
            if not self._authorization:
                self._authorization = await self._make_authorization(method, url)
            return self._authorization

    async def _make_authorization(self, method: str, url: str) -> str:
        if self._auth.registry_token:
            return f"Bearer {self._auth.registry_token}"
        schemes = {challenge.scheme: challenge for challenge in self._challenges}
        if bearer := schemes.get("bearer"):
            return f"Bearer {(await self._fetch_tokens(bearer, for_login=False))[0]}"
        if "basic" in schemes:
            if not self._auth.username:
                # Docker puts the request in front of it, but not in a push, whose layers all say it.
                prefix = (
                    ""
                    if any("push" in scope for scope in self._scopes)
                    else f'{method.capitalize()} "{url}": '
                )
                raise RegistryProblem(f"{prefix}no basic auth credentials", code="NO_CREDENTIALS", status=401)
            return basic(self._auth)
        return ""

    async def _fetch_tokens(self, challenge: Challenge, *, for_login: bool) -> tuple[str, str]:
        """Ask the token server; return the bearer and the identity token."""
        request = token_request(challenge, self._auth, self._scopes, for_login=for_login)
        realm = challenge.realm
        if not realm.startswith(("https://", "http://")):
            raise RegistryProblem(f"the registry names no token server: realm {realm!r}")
        try:
            async with self._http.request(
                "GET" if request.form is None else "POST",
                _url(request.url),
                data=request.form,
                headers={"Authorization": request.authorization} if request.authorization else None,
                proxy=_proxy(URL(realm)),
                allow_redirects=False,
            ) as response:
                text = await read_document(response)
                if response.status != 200:
                    raise problem_of(response.status, text)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            # The realm, not the URL: that has the account in it.
            raise connection_problem("GET", realm, error) from error
        tokens = parse_tokens(text)
        if tokens is None:
            raise RegistryProblem("authorization server did not include a token in the response")
        return tokens.bearer, tokens.refresh_token

    async def log_in(self) -> str:
        """Check the credentials; return an identity token, or "". Raises RegistryProblem, status 401
        for credentials that are wrong."""
        url = f"{self.base}/v2/"
        identity = ""
        for challenge in self._challenges:
            if challenge.scheme == "bearer" and not self._auth.registry_token:
                bearer, identity = await self._fetch_tokens(challenge, for_login=True)
                self._authorization = f"Bearer {bearer}"
                break
        async with self.request("GET", "/v2/", accept=range(400, 600)) as response:
            if response.status != 200:
                words = f"login attempt to {url} failed with status: {status_text(response.status)}"
                raise RegistryProblem(words, status=response.status)
        return identity

    async def fetch(self, method: str, path: str, accept: str = "") -> tuple[bytes, Mapping[str, str]]:
        """Return a document and its headers."""
        async with self.request(method, path, headers={"Accept": accept} if accept else None) as response:
            return await read_document(response), response.headers


async def read_document(response: aiohttp.ClientResponse) -> bytes:
    """Return a body that is to be held in memory. Raises RegistryProblem if it is too long for that."""
    parts = []
    size = 0
    async for part in response.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > _MAX_DOCUMENT:
            raise RegistryProblem(f"the registry's answer is longer than {_MAX_DOCUMENT} bytes", status=400)
    return b"".join(parts)


def scope(repository: str, *actions: str) -> str:
    """Return a token's scope for a repository."""
    return f"repository:{repository}:{','.join(actions)}"


def repository_path(named: Reference, *parts: str) -> str:
    """Return a path below a repository, such as `/v2/library/busybox/manifests/latest`."""
    return "/".join(("/v2", named.path, *parts))


def _url(text: str) -> URL:
    """Return a URL as it stands: registries sign the locations they give, escapes included."""
    return URL(text, encoded=True)


def _proxy(url: URL) -> str | None:
    """Return the proxy that HTTP_PROXY and its kin name, if any; loopback is never proxied, as in Go.

    aiohttp's own `trust_env` would do it, but reads passwords from ~/.netrc as well.
    """
    host = url.host or ""
    if is_loopback_host(host) or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(url.scheme)


@contextlib.asynccontextmanager
async def download(url: str, *, read_timeout_s: float = 60.0) -> AsyncGenerator[aiohttp.ClientResponse, None]:
    """GET a URL of the user's, for `import`. Raises InvalidRequest or RegistryProblem in Docker's words."""
    if URL(url).scheme not in ("http", "https"):
        raise InvalidRequest(f'Get "{url}": unsupported protocol scheme "{URL(url).scheme}"')
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=read_timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as http,
            http.get(url, proxy=_proxy(URL(url))) as response,
        ):
            yield response
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        raise connection_problem("GET", url, error) from error
