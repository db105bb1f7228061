"""How a scenario talks to an engine: every call of it is recorded, to be compared with the other engine's.

    def networks(client: Client) -> None:
        client.post("/networks/create", {"Name": "net1"})
        client.get("/networks/net1")

A scenario runs once against each engine and must make the same calls, whatever the answers are. Calls of
`quiet` are not recorded: they are for clean-up and for waiting.
"""

import base64
import io
import json
import re
import socket
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from carrick.testing.daemon import Reply, UnixConnection, eventually, split_frames

# What a request goes to unless the scenario says otherwise: the newest version that both engines speak.
VERSION = "/v1.41"
_TIMEOUT_S = 20.0
_FRAMED = ("application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what came back, in the form in which answers are compared."""

    request: str
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class Client:
    """Calls of one engine, recorded in `exchanges`."""

    socket_path: Path
    exchanges: list[Exchange] = field(default_factory=list)

    # Recorded calls --------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = VERSION,
        note: str = "",
        begun: Callable[[], object] | None = None,
    ) -> Reply:
        """Call and record; `body` goes as JSON, `raw` as it is. `note` tells apart what looks alike.

        `begun` is called when the answer has begun, of a call that waits for something to happen.
        """
        reply = self.quiet(method, path, body, raw=raw, headers=headers, version=version, begun=begun)
        self._record(method, version, path, note, reply)
        return reply

    def get(self, path: str, **options: Any) -> Reply:
        return self.call("GET", path, **options)

    def head(self, path: str, **options: Any) -> Reply:
        return self.call("HEAD", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Reply:
        return self.call("POST", path, body, **options)

    def put(self, path: str, **options: Any) -> Reply:
        return self.call("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> Reply:
        return self.call("DELETE", path, **options)

    def hijack(
        self,
        path: str,
        body: Any = None,
        *,
        send: bytes = b"",
        note: str = "",
        begun: Callable[[], object] | None = None,
    ) -> Reply:
        """Ask for an upgrade, send bytes, shut down our side, and read to the end; `begun` as for `call`."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"POST {VERSION}{path} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(self.socket_path))
            connection.sendall(head.encode() + data)
            answer = b""
            while b"\r\n\r\n" not in answer:
                if not (piece := connection.recv(65536)):
                    break
                answer += piece
            if begun is not None:
                begun()
            if send:
                connection.sendall(send)
            if answer.startswith(b"HTTP/1.1 101"):
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    answer += piece
        head_bytes, _, rest = answer.partition(b"\r\n\r\n")
        first, *lines = head_bytes.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        if (length := headers.get("Content-Length")) is not None:
            rest = rest[: int(length)]
        reply = Reply(int(first.split()[1]), rest, headers)
        self._record("POST", VERSION, path, f"{note} upgraded".strip(), reply)
        return reply

    def _record(self, method: str, version: str, path: str, note: str, reply: Reply) -> None:
        prefix = "" if version == VERSION else version or "unversioned "
        path = re.sub(r"^/exec/[^/]+/", "/exec/<id>/", unquote(path))
        request = f"{method} {prefix}{path}" + (f" ({note})" if note else "")
        self.exchanges.append(
            Exchange(request, reply.status, _compared_headers(reply), _comparable_body(reply))
        )

    def record_events(self, reply: Reply, request: str) -> None:
        """Record events by type and action: which of two comes first is nobody's promise."""
        found: dict[str, list[Any]] = {}
        body = _comparable_body(reply)
        lines = body.get("lines", [body]) if isinstance(body, dict) else []
        for event in lines if reply.status == 200 else ():
            found.setdefault(f"{event['Type']} {event['Action'].partition(':')[0]}", []).append(event)
        self.exchanges.append(Exchange(f"GET {request}", reply.status, _compared_headers(reply), found))

    # Unrecorded ------------------------------------------------------------------------------

    def quiet(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        version: str = VERSION,
        begun: Callable[[], object] | None = None,
    ) -> Reply:
        """Call without recording."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        sent |= headers or {}
        connection = UnixConnection(self.socket_path, _TIMEOUT_S)
        try:
            with suppress(BrokenPipeError):  # refused before all of the body was taken: there is an answer
                connection.request(
                    method,
                    quote(version + path, safe="/%?&=:;,.+!*()'~#@$-_[]^{}|"),
                    data,
                    {k: v for k, v in sent.items() if v},
                )
            response = connection.getresponse()
            if begun is not None:
                begun()
            return Reply(response.status, response.read(), dict(response.headers))
        finally:
            connection.close()

    def wait_for(self, path: str, condition: Callable[[Any], Any]) -> None:
        """Wait until what GET answers fulfils a condition."""
        eventually(lambda: condition(self.quiet("GET", path).json), 30, path)

    def wait_ended(self, container: str) -> None:
        """Wait until a container has ended and its engine knows."""
        self.wait_for(f"/containers/{container}/json", lambda found: not found["State"]["Running"])

    def wait_logged(self, container: str, text: str) -> None:
        """Wait until a container has written something."""
        path = f"/containers/{container}/logs?stdout=1"
        eventually(lambda: text.encode() in self.quiet("GET", path).body, 30, f"{text} of {container}")

    def run(self, name: str, *command: str, **body: Any) -> str:
        """Create and start a container, unrecorded; return its id."""
        given = {"Image": "busybox", "Cmd": list(command or ("sleep", "1d")), "StopSignal": "KILL"} | body
        created = self.quiet("POST", f"/containers/create?name={name}", given)
        assert created.status == 201, (name, created)
        started = self.quiet("POST", f"/containers/{name}/start")
        assert started.status == 204, (name, started)
        return str(created.json["Id"])

    def run_through(self, name: str, script: str, **body: Any) -> None:
        """Run a container that does something and stays; return when it has done it."""
        self.run(name, "sh", "-c", f"{script}; echo done; sleep 1d", **body)
        self.wait_logged(name, "done")

    def reset(self) -> None:
        """Remove all containers, networks, volumes, and the images of scenarios."""
        for item in self.quiet("GET", "/containers/json?all=1").json:
            self.quiet("DELETE", f"/containers/{item['Id']}?force=1&v=1")
        # A network that is the source of others goes after them.
        for _ in range(2):
            for item in self.quiet("GET", "/networks").json:
                if item["Name"] not in {"bridge", "host", "none"}:
                    self.quiet("DELETE", f"/networks/{item['Id']}")
        for item in self.quiet("GET", "/volumes").json["Volumes"] or []:
            self.quiet("DELETE", f"/volumes/{item['Name']}?force=1")
        for item in self.quiet("GET", "/images/json").json:
            tags = [tag for tag in item["RepoTags"] or [] if tag != "<none>:<none>"]
            extra = [tag for tag in tags if tag.partition(":")[0] not in {"busybox", "fancy"}]
            for reference in extra if tags else [item["Id"]]:
                self.quiet("DELETE", f"/images/{reference}?force=1")


def _compared_headers(reply: Reply) -> Mapping[str, str]:
    names = ("Content-Type", "Connection", "Upgrade")
    given = {name.lower(): value for name, value in reply.headers.items()}
    found = {name: given[name.lower()] for name in names if name.lower() in given}
    if reply.status != 101:
        found.pop("Connection", None)
    return found


def _comparable_body(reply: Reply) -> Any:
    """Return a body as JSON values, an archive's entries, streams' texts, or text."""
    kind = next((v for k, v in reply.headers.items() if k.lower() == "content-type"), "")
    stat = next((v for k, v in reply.headers.items() if k.lower() == "x-docker-container-path-stat"), "")
    if stat and not reply.body:
        return {"stat": json.loads(base64.b64decode(stat))}
    if not reply.body:
        return None
    if kind.startswith("application/x-tar") or reply.body[257:262] == b"ustar":
        return {"archive": _entries(reply.body)} | (
            {"stat": json.loads(base64.b64decode(stat))} if stat else {}
        )
    if kind.startswith(_FRAMED) or (reply.body[:1] in b"\x01\x02" and reply.body[1:4] == b"\0\0\0"):
        if reply.body[1:4] == b"\0\0\0":
            return {f"stream {key}": text for key, text in split_frames(reply.body).items() if text}
        return {"raw": reply.body.decode(errors="replace")}
    text = reply.body.decode(errors="replace")
    try:
        values = _json_values(text)
    except ValueError:
        return {"text": text}
    return values[0] if len(values) == 1 else {"lines": values}


def _json_values(text: str) -> list[Any]:
    decoder, values, position = json.JSONDecoder(), [], 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        values.append(value)
        while position < len(text) and text[position].isspace():
            position += 1
    return values


def _entries(data: bytes) -> dict[str, list[Any]]:
    """Return an archive's entries by name: type, mode, owner, link target, size of files."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:
        return {
            member.name.rstrip("/"): [
                member.type.decode(), oct(member.mode & 0o7777), member.uid, member.gid,
                member.linkname, member.size if member.isfile() else 0,
            ]
            for member in archive
        }  # fmt: skip
