"""Requests to the daemon: JSON in and out, streams, uploads, and connections taken over.

A `Client` keeps idle connections for reuse. It may be used from several threads: a connection
serves one request at a time and the pool's list operations are atomic.
"""

from __future__ import annotations

from carrick.doors.client import jsontext
from carrick.doors.client.connection import Connection
from carrick.doors.client.errors import BrokenReply, error_from_status
from carrick.doors.client.wire import (
    LAST_CHUNK,
    Head,
    ResponseDecoder,
    encode_chunk,
    encode_query,
    encode_request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from json import JSONDecoder
    from types import TracebackType
    from typing import Any, Self

    Query = Mapping[str, object]
    """Query parameters: None and False are left out, True is sent as 1, dicts and lists as JSON."""

_IDEMPOTENT = frozenset(("GET", "HEAD", "DELETE", "PUT"))
_MAX_ERROR_BODY = 1024 * 1024


class Response:
    """A reply whose body may still be on its way. Close it, or use it in a `with` block."""

    def __init__(self, client: Client, connection: Connection, decoder: ResponseDecoder, head: Head) -> None:
        self._client = client
        self._connection: Connection | None = connection
        self._decoder = decoder
        self.status = head.status
        self.headers = head.headers
        self._head = head

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives. Raises BrokenReply if it is cut short."""
        while True:
            if data := self._decoder.take():
                yield data
            if self._decoder.done:
                self.close()
                return
            if self._connection is None:
                return
            try:
                self._receive(self._connection)
            except BrokenReply:
                self.close()
                raise

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.receive()
        except ConnectionError as error:
            raise BrokenReply(f"the connection to the daemon broke: {error.strerror}") from error
        if data:
            self._decoder.feed(data)
        else:
            self._decoder.close()

    def read(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks())

    def json(self) -> Any:
        """Return the body's JSON value; None for an empty body."""
        body = self.read()
        if not body.strip():
            return None
        try:
            return jsontext.decode(body)
        except ValueError as error:
            raise BrokenReply(f"the daemon's answer is not JSON: {error}") from error

    def documents(self) -> Iterator[Any]:
        """Yield the JSON documents of a stream, each as soon as it is whole."""
        return split_documents(self.chunks())

    def fileno(self) -> int:
        """Return the connection's descriptor, for select; -1 once the body has ended."""
        return -1 if self._connection is None else self._connection.fileno()

    def close(self) -> None:
        """Let go of the connection: into the pool if the body was read to its end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        whole = self._decoder.done and not self._decoder.leftover
        if whole and self._head.keeps_alive() and not connection.spoiled:
            self._client.give_back(connection)
        else:
            connection.close()


class Hijacked:
    """A connection that has left HTTP: raw bytes both ways, half-close included."""

    def __init__(self, connection: Connection, early: bytes, content_type: str) -> None:
        self._connection = connection
        self._early = early
        self.content_type = content_type

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self._connection.send(data)

    def send_some(self, data: bytes) -> int:
        """Send what fits without waiting; return its length, or -1 if nobody reads any more."""
        return self._connection.send_some(data)

    def receive(self) -> bytes:
        """Return what has come, at least a byte; empty at the end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        try:
            return self._connection.receive()
        except ConnectionResetError:
            return b""

    @property
    def buffered(self) -> bool:
        """Whether `receive` would return at once, whatever select says of the descriptor."""
        return bool(self._early)

    def close_write(self) -> None:
        """Tell the peer that our input has ended; its output goes on."""
        self._connection.shutdown_write()

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close. May be repeated."""
        self._connection.close()


class Client:
    """The daemon at `address` (`unix:///path`). `version` prefixes paths, as in `/v1.48`."""

    def __init__(self, address: str, *, version: str = "") -> None:
        self.address = address
        self._prefix = f"/v{version}" if version else ""
        self._idle: list[Connection] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        upload: Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request and return the reply once its head is here.

        `body` goes as JSON, `upload` as a chunked stream. Raises an ApiError for a status of 400
        and above (and 304), DaemonUnreachable, or BrokenReply.
        """
        target = self._target(path, query)
        head, payload = _encode(method, target, body, upload, headers)
        while True:
            connection, decoder = self._exchange(method, head, payload, upload)
            if decoder is not None:
                return self._reply(connection, decoder)

    def get(self, path: str, query: Query | None = None) -> Any:
        """GET and return the JSON value."""
        with self.request("GET", path, query=query) as response:
            return response.json()

    def post(self, path: str, body: object = None, query: Query | None = None) -> Any:
        """POST and return the JSON value (None for an empty answer)."""
        with self.request("POST", path, query=query, body=body) as response:
            return response.json()

    def delete(self, path: str, query: Query | None = None) -> Any:
        """DELETE and return the JSON value (None for an empty answer)."""
        with self.request("DELETE", path, query=query) as response:
            return response.json()

    def hijack(self, path: str, *, query: Query | None = None, body: object = None) -> Hijacked:
        """POST with an upgrade to a raw stream. Raises as `request` does."""
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        head, payload = _encode("POST", self._target(path, query), body, headers=upgrade)
        # Never a reused connection: were it dead, a repeat could attach or exec twice.
        connection = Connection.open(self.address)
        try:
            connection.send(head + payload)
        except ConnectionError as error:
            connection.close()
            raise BrokenReply(f"the connection to the daemon broke: {error.strerror}") from error
        try:
            decoder = self._await_head(connection, ResponseDecoder("POST"))
        except BrokenReply:
            connection.close()
            raise
        assert decoder.head is not None
        if not decoder.upgraded:
            self._reply(connection, decoder).close()
            connection.close()
            raise BrokenReply(f"unable to upgrade to tcp, received {decoder.head.status}")
        content_type = decoder.head.headers.get("content-type", "")
        return Hijacked(connection, decoder.leftover, content_type)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose reply has been read to its end."""
        connection.reused = True
        self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections. The client stays usable."""
        while self._idle:
            self._idle.pop().close()

    def _target(self, path: str, query: Query | None) -> str:
        target = self._prefix + path
        if query and (encoded := encode_query(_plain(query))):
            target += "?" + encoded
        return target

    def _exchange(
        self, method: str, head: bytes, payload: bytes, upload: Iterable[bytes] | None
    ) -> tuple[Connection, ResponseDecoder | None]:
        """Send on an idle or new connection; no decoder: the idle one was dead, try again."""
        connection = self._checkout(fresh=upload is not None or method not in _IDEMPOTENT)
        decoder = ResponseDecoder(method)
        try:
            connection.send(head + payload)
            if upload is not None:
                for part in upload:
                    if chunk := encode_chunk(part):
                        connection.send(chunk)
                connection.send(LAST_CHUNK)
        except ConnectionError as error:
            if connection.reused:
                connection.close()
                return connection, None
            # The daemon may refuse an upload before its end: its answer says why. Half a request
            # is on the connection then, which is good for nothing else.
            connection.spoiled = True
            try:
                return connection, self._await_head(connection, decoder)
            except (BrokenReply, OSError):
                connection.close()
            raise BrokenReply(f"the connection to the daemon broke: {error.strerror}") from error
        except BaseException:
            connection.close()
            raise
        try:
            return connection, self._await_head(connection, decoder)
        except BrokenReply:
            connection.close()
            if connection.reused and decoder.head is None:
                return connection, None
            raise

    def _checkout(self, *, fresh: bool) -> Connection:
        """Return an idle connection, or a new one.

        A request that must not be sent twice gets an idle one only if the daemon has not closed
        it meanwhile; for the others a repeat on a new connection is harmless.
        """
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return Connection.open(self.address)
            if not fresh or connection.is_open():
                connection.reused = not fresh
                return connection
            connection.close()

    def _await_head(self, connection: Connection, decoder: ResponseDecoder) -> ResponseDecoder:
        while decoder.head is None or (decoder.head.status < 200 and not decoder.upgraded):
            try:
                data = connection.receive()
            except ConnectionError as error:
                raise BrokenReply(f"the connection to the daemon broke: {error.strerror}") from error
            if not data:
                raise BrokenReply("the daemon closed the connection without an answer")
            decoder.feed(data)
        return decoder

    def _reply(self, connection: Connection, decoder: ResponseDecoder) -> Response:
        head = decoder.head
        assert head is not None
        response = Response(self, connection, decoder, head)
        if head.status >= 400 or head.status == 304:
            with response:
                raise error_from_status(head.status, *_error_texts(response))
        return response


def _encode(
    method: str,
    target: str,
    body: object,
    upload: Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[bytes, bytes]:
    """Return a request's head, and its body unless that is an upload."""
    fields = {"Host": "carrick", "User-Agent": "carrick"}
    payload = b""
    if upload is not None:
        fields["Transfer-Encoding"] = "chunked"
        fields["Content-Type"] = "application/x-tar"
    elif body is not None:
        payload = jsontext.encode(body).encode()
        fields["Content-Type"] = "application/json"
    if method in ("POST", "PUT") and upload is None:
        fields["Content-Length"] = str(len(payload))
    fields.update(headers or {})
    return encode_request(method, target, fields), payload


def split_documents(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Yield the JSON documents in `chunks`: one per line, or several, or set apart by RS bytes."""
    from json import JSONDecoder

    decoder = JSONDecoder()
    pending = b""
    for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield from _documents_in(decoder, line)
    yield from _documents_in(decoder, pending)


def _documents_in(decoder: JSONDecoder, line: bytes) -> Iterator[Any]:
    text = line.decode("utf-8", "replace").strip(" \t\r\n\x1e")
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except ValueError as error:
            raise BrokenReply(f"the daemon's stream is not JSON: {error}") from error
        yield value
        text = text[end:].lstrip(" \t\r\n\x1e")


def _plain(query: Query) -> dict[str, str]:
    plain: dict[str, str] = {}
    for key, value in query.items():
        if value is None or value is False:
            continue
        if value is True:
            plain[key] = "1"
        elif isinstance(value, dict | list | tuple):
            plain[key] = jsontext.encode(value)
        else:
            plain[key] = str(value)
    return plain


def _error_texts(response: Response) -> tuple[str, str | None]:
    """Return an error's message and remedy: of our JSON, or whatever text there is instead."""
    body = _beginning(response)
    try:
        value = jsontext.decode(body)
    except ValueError:
        value = None
    if isinstance(value, dict) and isinstance(value.get("message"), str) and value["message"]:
        remedy = value.get("remedy")
        return value["message"].strip(), remedy.strip() if isinstance(remedy, str) else None
    text = body.decode("utf-8", "replace").strip()
    return text or f"the daemon answered with status {response.status} and no explanation", None


def _beginning(response: Response) -> bytes:
    """Return an error's body, or as much of it as came and is worth reading."""
    body = b""
    try:
        for chunk in response.chunks():
            body += chunk
            if len(body) > _MAX_ERROR_BODY:
                break
    except BrokenReply:
        return body
    return body
