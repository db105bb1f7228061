"""Garbage for the API: bytes, heads, queries, bodies made of the description's own schemas and spoiled.

Whatever is sent, the server answers in good HTTP or closes the connection; an answer is never an internal
error, and nothing is left behind. `Target` is a server to throw at, `attacks` what to throw.
"""

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ..doors.api import ApiServer
from ..doors.api.describe import Description
from ..doors.api.routing import MAX_VERSION
from ..doors.api.server import all_routes
from ..engine.values import Attachment, CreateContainer, CreateNetwork, ExecConfig, ExecView
from ..model.containers import ContainerConfig, HostConfig
from ..model.errors import CarrickError
from .fake_engine import IMAGE_ID, FakeEngine

_ANSWER_S = 20.0
# After so long a silence we leave, as half a request has no answer; and streams have no end.
_SILENCE_S = 0.05
_STREAM_PIECES = 5
_INCIDENT = re.compile(rb'"message":"internal error [0-9a-f]{8}: ')
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r\n]*\r\n")

JSON_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        *(
            "c1",
            "web",
            "bridge",
            "host",
            "none",
            "busybox",
            "busybox:latest",
            "vol",
            "container:c1",
            "nosuch",
        ),
        *(
            "",
            "0",
            "-1",
            "80/tcp",
            "8080",
            "53/udp",
            "8000-8010",
            "0.0.0.0",
            "::1",
            "192.0.2.1",
            "10.0.0.0/8",
        ),
        *("echo", "sleep", "CMD", "no", "always", "on-failure", "/", "/tmp", "../..", "a:b:c", "9" * 30),
        *("\0", "\ud7ff", "é", "%s%n", "'\"`$(id)", "\r\nX: y", "99999999999", "1e400", "true", "all"),
    ]
)
ODD_TEXT = WORDS | st.text(max_size=30)


@dataclass(frozen=True, slots=True)
class Attack:
    """Bytes to send on a connection of its own. What is `whole` must be answered."""

    data: bytes
    whole: bool = False


# --- bodies from schemas ----------------------------------------------------------------------------


def from_schema(schema: Mapping[str, Any], components: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a schema allows, with odd words for strings."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: from_schema(components[name], components))
    if "anyOf" in schema:
        return st.one_of(*(from_schema(item, components) for item in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type")
    names = kinds if isinstance(kinds, list) else [kinds]
    return st.one_of(*(_of_type(name, schema, components) for name in names))


def _of_type(
    name: str | None, schema: Mapping[str, Any], components: Mapping[str, Any]
) -> st.SearchStrategy[Any]:
    match name:
        case "string":
            return ODD_TEXT
        case "integer":
            return st.integers(-(2**64), 2**64) | st.sampled_from([0, 1, -1, 80, 65535, 65536, 2**63 - 1])
        case "number":
            return st.floats(allow_nan=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(from_schema(schema.get("items", {}), components), max_size=3)
        case "object":
            properties = {
                key: from_schema(value, components) for key, value in schema.get("properties", {}).items()
            }
            if properties:
                return st.fixed_dictionaries({}, optional=properties)
            values = schema.get("additionalProperties")
            inner = from_schema(values, components) if isinstance(values, dict) else JSON_VALUE
            return st.dictionaries(ODD_TEXT, inner, max_size=3)
        case _:
            return JSON_VALUE


@st.composite
def spoiled(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
    """Return a value with, mostly, something in it replaced by something else."""
    value = draw(values)
    for _ in range(draw(st.integers(0, 3))):
        value = _replace_somewhere(draw, value, 0)
    return value


def _replace_somewhere(draw: st.DrawFn, value: Any, depth: int) -> Any:
    if depth > 5 or not isinstance(value, dict | list) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JSON_VALUE)
    if isinstance(value, list):
        index = draw(st.integers(0, len(value) - 1))
        changed = _replace_somewhere(draw, value[index], depth + 1)
        return [*value[:index], changed, *value[index + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    name = key.swapcase() if draw(st.integers(0, 4)) == 0 else key
    return {**value, name: _replace_somewhere(draw, value[key], depth + 1)}


def _encoded(draw: st.DrawFn, value: Any) -> bytes:
    """Return JSON, at times cut, doubled, or with a byte changed."""
    data = bytearray(json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    match draw(st.integers(0, 12)):
        case 0:
            del data[draw(st.integers(0, len(data))) :]
        case 1:
            data = data * 2
        case 2 if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        case 3:
            data = bytearray(b"[" * 3000 + bytes(data) + b"]" * 3000)
    return bytes(data)


# --- requests ---------------------------------------------------------------------------------------


def _document() -> Mapping[str, Any]:
    return Description(all_routes(), "fuzz").document(MAX_VERSION)


@st.composite
def requests(draw: st.DrawFn) -> Attack:
    """Return a request for something that is served, right in most of its parts."""
    document = _DOCUMENT
    path = draw(st.sampled_from(_PATHS))
    method = draw(st.sampled_from(sorted(document["paths"][path])))
    operation = document["paths"][path][method]
    target = re.sub(r"\{\w+\}", lambda _: _reference(draw, path), path)
    if draw(st.integers(0, 9)) == 0:
        target = draw(st.sampled_from(_VERSIONS)) + target
    query, headers = _parameters(draw, operation)
    body = _body(draw, operation, document)
    if draw(st.integers(0, 19)) == 0:
        headers["Upgrade"] = draw(st.sampled_from(["tcp", "websocket", "h2c", ""]))
        headers["Connection"] = draw(st.sampled_from(["Upgrade", "close", "keep-alive, upgrade"]))
    if body and draw(st.integers(0, 9)):
        headers["Content-Type"] = draw(
            st.sampled_from(["application/json"] * 8 + ["text/plain", "", "application/json; charset=x", "/"])
        )
    headers.setdefault("Connection", "close")
    framed, body, whole = _frame(draw, body)
    head = f"{method.upper()} {target}{'?' + query if query else ''} HTTP/1.1\r\nHost: x\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in (headers | framed).items())
    return Attack((head + "\r\n").encode("utf-8", "surrogatepass") + body, whole)


def _reference(draw: st.DrawFn, path: str) -> str:
    """Return something for a path's parameter: mostly what there is."""
    if draw(st.integers(0, 3)):
        return next((name for prefix, name in _EXISTING if path.startswith(prefix)), "x")
    return quote(draw(ODD_TEXT), safe=draw(st.sampled_from(["", "/:"])))


def _parameters(draw: st.DrawFn, operation: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    pairs: list[str] = []
    headers: dict[str, str] = {}
    for item in operation.get("parameters", ()):
        if item["in"] == "path" or draw(st.integers(0, 2)) == 0:
            continue
        if item["in"] == "header":
            headers[item["name"]] = draw(_AUTH)
        else:
            text = draw(_FILTERS if item["name"] == "filters" else _VALUES)
            pairs.append(f"{item['name']}={quote(text, safe='')}")
    if draw(st.integers(0, 9)) == 0:
        pairs.append(draw(st.sampled_from(["%", "=", "&&", "%ff=%fe", "a[]=b", ";", "%00"])))
    return "&".join(pairs), headers


def _body(draw: st.DrawFn, operation: Mapping[str, Any], document: Mapping[str, Any]) -> bytes:
    content = operation.get("requestBody", {}).get("content", {})
    if entry := content.get("application/json"):
        values = from_schema(entry["schema"], document["components"]["schemas"])
        value = draw(spoiled(values) if draw(st.integers(0, 9)) else JSON_VALUE)
        if isinstance(value, dict) and draw(st.booleans()):
            name = entry["schema"].get("$ref", "").rpartition("/")[2]
            value |= _RIGHT.get(name, {})
        return _encoded(draw, value)
    if content:
        return draw(_ARCHIVES)
    return draw(st.sampled_from([b"", b"", b"", b"{}", b"null", b"\0" * 100]))


def _frame(draw: st.DrawFn, body: bytes) -> tuple[dict[str, str], bytes, bool]:
    """Say how long the body is: at once, in chunks, or wrongly; and whether rightly."""
    match draw(st.integers(0, 15)):
        case 0:
            cut = draw(st.integers(0, len(body)))
            pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
            data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            return {"Transfer-Encoding": "chunked"}, data + b"0\r\n\r\n", True
        case 1:
            wrong = st.sampled_from([str(len(body) + 10), "-1", "x", "9" * 25, "0x10", "1, 2", " ", "1" * 12])
            return {"Content-Length": draw(wrong)}, body, False
        case 2:
            return {"Transfer-Encoding": "chunked", "Content-Length": str(len(body))}, body, False
        case _:
            return ({"Content-Length": str(len(body))} if body else {}), body, True


_EXISTING = (
    ("/containers/", "c1"),
    ("/carrick/v1/containers/", "c1"),
    ("/networks/", "web"),
    ("/images/", "busybox"),
    ("/volumes/", "vol"),
    ("/exec/", "e1"),
)
_RIGHT: Mapping[str, Mapping[str, Any]] = {
    "ContainerCreateRequest": {"Image": "busybox", "Cmd": ["echo"]},
    "ExecConfigRequest": {"Cmd": ["echo", "hello"]},
    "NetworkConnectRequest": {"Container": "c1"},
    "NetworkDisconnectRequest": {"Container": "c1"},
    "NetworkRequest": {"Name": "net", "Driver": "bridge"},
}
_VERSIONS = ("/v1.24", "/v1.41", "/v1.43", "/v1.999", "/v", "/v1..2", "/v" + "9" * 40)
_VALUES = ODD_TEXT | st.sampled_from(
    ["1", "1700000000.5", "-5", "1" * 20, "not-running", "ctrl-p,ctrl-q", "ctrl-"]
)
_FILTERS = (
    st.dictionaries(
        st.sampled_from(["name", "id", "label", "status", "until", "type", "x", "label!", "exited"]),
        st.lists(ODD_TEXT, max_size=2) | st.dictionaries(ODD_TEXT, st.booleans(), max_size=2) | JSON_VALUE,
        max_size=3,
    ).map(json.dumps)
    | st.sampled_from(["{", "[]", '"x"', "[" * 5000, "{}", "null", '{"a":{"b":{"c":1}}}'])
    | ODD_TEXT
)


def _base64(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


_AUTH = (
    st.dictionaries(st.sampled_from(["username", "password", "identitytoken", "Username"]), JSON_VALUE)
    .map(lambda value: _base64(json.dumps(value).encode()))
    .filter(lambda text: len(text) < 4000)
    | st.binary(max_size=60).map(_base64)
    | st.sampled_from(["", "=", "e30", "é", "bnVsbA", _base64(b"[" * 2000), "x" * 9000])
)
_TAR_HEADER = b"file".ljust(100, b"\0") + b"0000644\0" + b"0" * 7 + b"\0" + b"0" * 7 + b"\0"
_ARCHIVES = (
    st.binary(max_size=2000)
    | st.sampled_from([b"", b"garbage", b"\0" * 1024, b"\x1f\x8b\x08", b"BZh9", b"(\xb5/\xfd"])
    | st.binary(max_size=300).map(lambda rest: (_TAR_HEADER + rest).ljust(512, b"\0"))
)


# --- heads and bytes --------------------------------------------------------------------------------


@st.composite
def broken_heads(draw: st.DrawFn) -> Attack:
    """Return a request whose head has bytes changed, taken out or put in."""
    data = bytearray(draw(requests()).data)
    end = max(data.find(b"\r\n\r\n"), 1) + 4
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(end, len(data)) - 1)) if data else 0
        match draw(st.integers(0, 3)):
            case 0 if data:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 20))]
            case 2:
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                data[at:at] = draw(
                    st.sampled_from(
                        [b"\r\n", b"\r\n\r\n", b"\n", b"\0", b": ", b" HTTP/1.1\r\n", b"x" * 9000]
                    )
                )
    return Attack(bytes(data))


@st.composite
def pipelines(draw: st.DrawFn) -> Attack:
    """Return several requests on one connection, at times cut in the middle."""
    data = b"".join(item.data for item in draw(st.lists(requests(), min_size=2, max_size=4)))
    cut = draw(st.integers(0, len(data))) if draw(st.booleans()) else len(data)
    return Attack(data[:cut])


BYTES = st.binary(max_size=4000).map(Attack)
ATTACKS = st.one_of(requests(), requests(), requests(), broken_heads(), pipelines(), BYTES)
_DOCUMENT = _document()
# Of what is refused whatever is asked, a little is enough.
_PATHS = sorted(path for path in _DOCUMENT["paths"] if "{rest}" not in path)


# --- the target -------------------------------------------------------------------------------------


class Target:
    """A server with a fake engine, and a count of what there is before anything is thrown at it."""

    def __init__(self, path: Path, server: ApiServer, engine: FakeEngine) -> None:
        self._path = path
        self.server = server
        self.engine = engine
        self.answers: dict[int, int] = {}

    async def throw(self, attack: Attack) -> None:
        """Send an attack and judge what comes back. Raises AssertionError."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(attack.data)
                await asyncio.wait_for(writer.drain(), _ANSWER_S)
            self._judge(await self._read(reader, attack.whole), attack)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, whole: bool) -> bytes:
        """Return what comes until the server closes or falls silent."""
        answer = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(_STREAM_PIECES):
                patience = _ANSWER_S if whole and not answer else _SILENCE_S
                piece = await asyncio.wait_for(reader.read(1 << 20), patience)
                if not piece:
                    return answer
                answer += piece
        return answer

    def _judge(self, answer: bytes, attack: Attack) -> None:
        if not answer:
            assert not attack.whole, f"no answer to {attack.data[:2000]!r}"
            return
        first = _STATUS_LINE.match(answer)
        assert first, f"no HTTP: {answer[:200]!r} after {attack.data[:500]!r}"
        for match in _STATUS_LINE.finditer(answer):
            status = int(match[1])
            self.answers[status] = self.answers.get(status, 0) + 1
        assert not _INCIDENT.search(answer), f"{answer[:500]!r} after {attack.data[:2000]!r}"

    async def furnish(self) -> None:
        """See to it that there is something to hit: a container, a network, a volume, an exec."""
        engine = self.engine
        with contextlib.suppress(CarrickError):
            await engine.networks.create(CreateNetwork("web"))
        await engine.volumes.create("vol", driver="local", options={}, labels={})
        with contextlib.suppress(CarrickError):
            config = ContainerConfig(image=IMAGE_ID, cmd=("sleep",), open_stdin=True)
            attachments = (Attachment("bridge"),)
            await engine.containers.create(CreateContainer(config, HostConfig(), attachments, "c1"))
        with contextlib.suppress(CarrickError):
            await engine.containers.start("c1")
        with contextlib.suppress(CarrickError):
            container = (await engine.containers.get("c1")).record.id
            view = ExecView("e1", container, ExecConfig(("cat",), attach_stdin=True))
            engine.containers.execs["e1"] = (view, None)

    async def check_rest(self) -> None:
        """Wait until nothing of the attacks is left: no task, no session, no descriptor."""
        await self._ping()
        containers = self.engine.containers
        for process in containers.processes.values():
            process.kill(137)
        async with asyncio.timeout(_ANSWER_S):
            while self._leftovers():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def _leftovers(self) -> list[str]:
        current = asyncio.current_task()
        mine = ("fake ", "Task-")
        tasks = [task.get_name() for task in asyncio.all_tasks() if task is not current]
        found = [name for name in tasks if not name.startswith(mine)]
        found += [f"{len(self.engine.bus.queues)} watchers"] if self.engine.bus.queues else []
        sessions = sum(len(process.sessions) for process in self.engine.containers.processes.values())
        return found + ([f"{sessions} sessions"] if sessions else [])

    async def _ping(self) -> None:
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), _ANSWER_S)
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """A server on a socket of its own, with a container and a network to hit. Checks what is left."""
    directory = Path(tempfile.mkdtemp(prefix="carrick-fuzz-"))
    engine: Any = FakeEngine()
    server = ApiServer(engine, directory / "api.sock", stats_interval_s=0.01, stop_grace_s=2)
    before = open_descriptors()
    await server.start()
    try:
        found = Target(directory / "api.sock", server, engine)
        yield found
        await found.check_rest()
    finally:
        await server.stop()
        await engine.close()
        shutil.rmtree(directory)
    await asyncio.sleep(0.05)
    assert open_descriptors() <= before, f"{open_descriptors()} descriptors, {before} at first"


def run_attacks(rounds: int, chosen_seed: int) -> dict[int, int]:
    """Throw `rounds` attacks; return how often each status was the answer."""
    with asyncio.Runner() as runner, quiet_log():
        context = target()
        found = runner.run(context.__aenter__())
        thrown = itertools.count()

        @seed(chosen_seed)
        @settings(
            max_examples=rounds,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(ATTACKS)
        def throw(attack: Attack) -> None:
            if next(thrown) % 20 == 0:
                runner.run(found.furnish())
            runner.run(found.throw(attack))

        throw()
        runner.run(context.__aexit__(None, None, None))
        return found.answers


def open_descriptors() -> int:
    return len(tuple(Path("/proc/self/fd").iterdir()))


@contextmanager
def quiet_log() -> Iterator[None]:
    """Raise AssertionError if anything was logged as an error meanwhile."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep(logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
    formatter = logging.Formatter()
    assert not records, "\n".join(formatter.format(record) for record in records[:3])
