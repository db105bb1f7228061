"""One request, as handlers see it: its parameters and body in, a response out."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from ...engine.contract import Engine
from ...engine.values import Filters
from ...model.errors import InvalidRequest
from .describe import Description
from .errors import ErrorReply
from .parse.fields import Fields, decode_document
from .parse.query import parse_filters, parse_flag, parse_integer, parse_timestamp
from .routing import MAX_VERSION, ApiVersion, version_text

MAX_DOCUMENT = 1024 * 1024
_CHUNK = 256 * 1024
_JSON = "application/json"
_TURN_S = 0.01
"""How long a long answer may keep others from theirs."""


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Site:
    """What is the same for all requests: the engine, our version and description, the clock."""

    engine: Engine
    release: str
    description: Description
    now: Callable[[], datetime] = utc_now
    stats_interval_s: float = 1.0
    headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        headers = {
            "Server": f"Carrick/{self.release} (linux)",
            "Api-Version": version_text(MAX_VERSION),
            "Docker-Experimental": "false",
            "Ostype": "linux",
        }
        object.__setattr__(self, "headers", headers)


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `parameters` are those of the path, percent-decoded."""

    request: web.BaseRequest
    site: Site
    version: ApiVersion
    parameters: Mapping[str, str]

    @property
    def engine(self) -> Engine:
        return self.site.engine

    # --- what was asked

    def parameter(self, name: str) -> str:
        """Return a part of the path."""
        return self.parameters[name]

    def query(self, name: str, default: str = "") -> str:
        """Return a query parameter, the first if it is repeated."""
        return self.request.query.get(name, default)

    def query_all(self, name: str) -> tuple[str, ...]:
        """Return all values of a repeated query parameter."""
        return tuple(self.request.query.getall(name, []))

    def flag(self, name: str, default: bool = False) -> bool:
        return parse_flag(self.request.query.get(name), default)

    def integer(self, name: str) -> int | None:
        return parse_integer(name, self.request.query.get(name))

    def timestamp(self, name: str) -> int | None:
        """Return nanoseconds since the epoch."""
        return parse_timestamp(name, self.request.query.get(name))

    def filters(self) -> Filters:
        return parse_filters(self.request.query.get("filters"))

    def header(self, name: str) -> str:
        return self.request.headers.get(name, "")

    async def document(self, where: str, *, required: bool = True) -> Fields:
        """Return the JSON object in the body; without one, an empty object unless `required`."""
        self._check_content_type()
        body = await self._read_limited()
        if not body and (not required or self.request.headers.get("Content-Length") == "0"):
            return Fields(where=where)
        return decode_document(body, where)

    def _check_content_type(self) -> None:
        given = self.header("Content-Type")
        if not given and not self.request.can_read_body:
            return
        if given.partition(";")[0].strip().lower() != _JSON:
            raise InvalidRequest(f"unsupported Content-Type header ({given}): must be '{_JSON}'")

    async def _read_limited(self) -> bytes:
        """Return the body. One that is too long is refused before it is read, where it says so."""
        if (self.request.content_length or 0) > MAX_DOCUMENT:
            raise _too_large()
        body = bytearray()
        async for chunk in self.body():
            body += chunk
            if len(body) > MAX_DOCUMENT:
                raise _too_large()
        return bytes(body)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes. Raises ConnectionResetError if the client breaks off."""
        try:
            async for chunk in self.request.content.iter_any():
                yield chunk
        except RequestPayloadError as error:
            raise InvalidRequest("the request's body is cut short or badly framed") from error

    # --- what is answered

    def json(self, value: object, status: int = 200) -> web.Response:
        return json_response(self.site, value, status)

    async def json_list(self, entries: AsyncIterator[object]) -> web.StreamResponse:
        """Answer with a list, however long: rendered with others' turns in between, entry by entry,
        so that no more than the answer's bytes is kept for a client that is slow to take them."""
        body = bytearray()
        separator = b"["
        turn_began = time.monotonic()
        async for entry in entries:
            body += separator
            body += encode(entry)
            body.pop()  # the newline
            separator = b","
            if time.monotonic() - turn_began > _TURN_S:
                await asyncio.sleep(0)
                turn_began = time.monotonic()
        body += b"[]\n" if separator == b"[" else b"]\n"
        if len(body) <= _CHUNK:
            return web.Response(body=bytes(body), content_type=_JSON, headers=self.site.headers)
        response = web.StreamResponse(headers={**self.site.headers, "Content-Type": _JSON})
        response.content_length = len(body)
        await response.prepare(self.request)
        for start in range(0, len(body), _CHUNK):
            await response.write(bytes(body[start : start + _CHUNK]))
        return response

    def empty(self, status: int = 204) -> web.Response:
        return web.Response(status=status, headers=self.site.headers)

    def text(self, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
        return web.Response(
            text=text, content_type="text/plain", headers={**self.site.headers, **(headers or {})}
        )

    async def stream(self, content_type: str, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
        """Begin an answer of unknown length; its headers are sent at once."""
        response = web.StreamResponse(
            headers={**self.site.headers, "Content-Type": content_type, **(headers or {})}
        )
        if self.request.version < (1, 1):
            response.force_close()
        await response.prepare(self.request)
        return response

    async def send_all(self, response: web.StreamResponse, parts: AsyncIterator[bytes]) -> web.StreamResponse:
        """Send what `parts` yields, at the client's pace."""
        async for part in parts:
            for start in range(0, len(part), _CHUNK):
                await response.write(part[start : start + _CHUNK])
        return response


def _too_large() -> InvalidRequest:
    return InvalidRequest(f"the request's body is larger than {MAX_DOCUMENT} bytes")


_encoder = msgspec.json.Encoder()


def encode(value: Any) -> bytes:
    """Return one line of JSON."""
    try:
        return _encoder.encode(value) + b"\n"
    except UnicodeEncodeError:
        return _encode_foreign(value) + b"\n"


def _encode_foreign(value: Any) -> bytes:
    """Return JSON of bytes in texts that are no UTF-8: a file's name, a header that an error quotes.

    Such bytes are surrogates in a str. As in Go, each becomes U+FFFD.
    """
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "replace")
    return data.decode("utf-8", "replace").encode()


def json_response(site: Site, value: object, status: int = 200) -> web.Response:
    return web.Response(body=encode(value), status=status, content_type=_JSON, headers=site.headers)


def error_response(site: Site, reply: ErrorReply) -> web.Response:
    """Return an error as Docker words it; 304 may not have a body."""
    if reply.status == 304:
        return web.Response(status=304, headers=site.headers)
    return json_response(site, reply.document(), reply.status)
