"""A daemon that says what a test tells it to, on a Unix socket in threads of its own."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> object:
        return json.loads(self.body)


@dataclass
class Reply:
    """A reply: a JSON value, raw bytes, chunks, or `raw`: everything, head included."""

    status: int = 200
    value: object = None
    body: bytes | None = None
    chunks: list[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    close: bool = False
    takeover: Callable[[socket.socket], None] | None = None
    before_body: Callable[[], None] | None = None


Handler = Reply | Callable[[Request], Reply]


class FakeDaemon:
    """Routes are `METHOD path`; what no route answers is a 404 in Docker's words."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.routes: dict[str, Handler] = {}
        self._connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._threads: list[threading.Thread] = []
        self._accepter = threading.Thread(target=self._accept, daemon=True)
        self._accepter.start()

    @property
    def address(self) -> str:
        return f"unix://{self.path}"

    def on(self, route: str, handler: Handler | object) -> None:
        """Answer `METHOD path` with a Reply, a function, or a JSON value."""
        known = isinstance(handler, Reply) or callable(handler)
        self.routes[route] = handler if known else Reply(value=handler)  # type: ignore[assignment]

    def seen(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def drop_connections(self) -> None:
        """Close every connection, as a daemon that restarts does."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def close(self) -> None:
        # Shutting down wakes the thread in accept; closing alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepter.join(5)
        self.drop_connections()
        for thread in self._threads:
            thread.join(5)
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as reader:
            while self._serve_one(connection, reader, number):
                pass

    def _serve_one(self, connection: socket.socket, reader, number: int) -> bool:
        line = reader.readline().decode()
        if not line:
            return False
        method, target, _ = line.split(" ", 2)
        headers: dict[str, str] = {}
        while (raw := reader.readline().decode().strip()) != "":
            name, _, value = raw.partition(":")
            headers[name.lower()] = value.strip()
        request = Request(method, target, headers, self._body(reader, headers), number)
        self.requests.append(request)
        handler = self.routes.get(f"{method} {request.path}")
        if handler is None:
            handler = Reply(404, {"message": f"page not found: {request.path}"})
        reply = handler if isinstance(handler, Reply) else handler(request)
        return self._send(connection, method, reply)

    @staticmethod
    def _body(reader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(reader.readline(), 16):
                body += reader.read(size)
                reader.readline()
            reader.readline()
            return body
        return reader.read(int(headers.get("content-length", 0)))

    @staticmethod
    def _send(connection: socket.socket, method: str, reply: Reply) -> bool:
        if reply.raw is not None:
            connection.sendall(reply.raw)
            if reply.takeover is not None:
                reply.takeover(connection)
            return False
        body = reply.body
        if body is None and reply.value is not None:
            body = json.dumps(reply.value).encode()
        headers = {"Content-Type": "application/json", **reply.headers}
        if reply.takeover is not None:
            headers |= {"Connection": "Upgrade", "Upgrade": "tcp"}
            status = "101 UPGRADED"
        else:
            status = f"{reply.status} X"
            if reply.chunks is not None:
                headers["Transfer-Encoding"] = "chunked"
            elif reply.status not in (204, 304):
                headers["Content-Length"] = str(len(body or b""))
        head = f"HTTP/1.1 {status}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        connection.sendall(head.encode() + b"\r\n")
        if reply.takeover is not None:
            reply.takeover(connection)
            return False
        if reply.before_body is not None:
            reply.before_body()
        if method != "HEAD":
            if reply.chunks is not None:
                for chunk in reply.chunks:
                    connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                connection.sendall(b"0\r\n\r\n")
            elif body and reply.status not in (204, 304):
                connection.sendall(body)
        return not reply.close
