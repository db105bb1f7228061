"""The executables and the server on a real socket: both languages, a daemon that is down, hostile clients."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cni_door import NETNS, Door, conf

from carrick.doors.cli.cni_install import find_interpreter, render_plugin
from carrick.doors.cni import CniServer
from carrick.doors.cni.frames import MAX_INPUT, render_request
from carrick.doors.cni.server import waiting_directory
from carrick.model.guests import GuestSpec


@dataclass
class Executable:
    path: Path
    socket: Path

    async def run(self, environment: Mapping[str, str], data: bytes) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            self.path,
            env={"CNI_PATH": "/plugins", "OTHER": "x", **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate(data)
        assert errors == b""
        assert process.returncode is not None
        return process.returncode, output

    async def call(self, command: str, config: Any = None, **more: str) -> tuple[int, Any]:
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "one",
            "CNI_NETNS": NETNS,
            "CNI_IFNAME": "eth0",
            **more,
        }
        code, output = await self.run(environment, json.dumps(config or conf()).encode())
        return code, json.loads(output) if output else None


@pytest.fixture(params=["perl", "python"])
def executable(request: pytest.FixtureRequest, tmp_path: Path) -> Executable:
    language, interpreter = find_interpreter(request.param)
    path, socket = tmp_path / "carrick", tmp_path / "cni.sock"
    text = render_plugin(language, interpreter, str(socket))
    if language == "python":
        assert interpreter != sys.executable
    # A test does not wait two minutes.
    text = text.replace("$patience_s = 120", "$patience_s = 2").replace(
        "PATIENCE_S = 120.0", "PATIENCE_S = 2.0"
    )
    path.write_text(text)
    path.chmod(0o755)
    return Executable(path, socket)


@pytest.fixture
async def server(executable: Executable, door: Door) -> AsyncIterator[CniServer]:
    found = CniServer(door.calls, executable.socket, receive_s=1.0)
    await found.start()
    yield found
    await found.stop()


async def test_there_and_back(executable: Executable, server: CniServer, door: Door) -> None:
    assert executable.socket.stat().st_mode & 0o777 == 0o600
    code, result = await executable.call("ADD")
    assert (code, result["ips"][0]["address"]) == (0, "10.9.0.2/24")
    code, error = await executable.call("ADD")
    assert (code, error["code"]) == (1, 101)
    assert await executable.call("DEL") == (0, None)
    assert not door.engine.guests.views
    assert await executable.call("STATUS") == (0, None)
    code, error = await executable.call("CHECK", CNI_ARGS="Ü=\xe4")
    assert (code, error["code"]) == (1, 3)


async def test_a_large_answer_and_request(executable: Executable, server: CniServer) -> None:
    attachments = [{"containerID": f"c{n}" * 20, "ifname": "eth0"} for n in range(20_000)]
    assert await executable.call("GC", conf(**{"cni.dev/valid-attachments": attachments})) == (0, None)
    routes = [{"dst": f"10.{n // 250}.{n % 250}.0/24"} for n in range(5_000)]
    code, result = await executable.call("ADD", conf(prevResult={"routes": routes}))
    assert (code, len(result["routes"])) == (0, 5_001)


async def test_too_large_a_request(executable: Executable, server: CniServer) -> None:
    data = conf(prevResult={"dns": {"search": ["x" * (MAX_INPUT + 70_000)]}})
    code, error = await executable.call("ADD", data)
    assert code == 1
    # It may see that nobody reads on before it sees the answer.
    assert error["code"] in (5, 11)


async def test_no_input_and_no_environment(executable: Executable, server: CniServer) -> None:
    code, output = await executable.run({}, b"")
    assert (code, json.loads(output)["code"]) == (1, 4)
    code, output = await executable.run({"CNI_COMMAND": "STATUS"}, b"")
    assert (code, json.loads(output)["code"]) == (1, 6)


async def test_many_at_once(executable: Executable, server: CniServer, door: Door) -> None:
    answers = await asyncio.gather(
        *(executable.call("ADD", CNI_CONTAINERID=f"c{n}", CNI_NETNS=f"/n/{n}") for n in range(50))
    )
    assert {code for code, _ in answers} == {0}
    assert len({result["ips"][0]["address"] for _, result in answers}) == 50


# The daemon is down ----------------------------------------------------------------------------------


async def test_version_needs_no_daemon(executable: Executable) -> None:
    code, document = await executable.call("VERSION", {"cniVersion": "0.4.0"})
    assert (code, document["cniVersion"]) == (0, "0.4.0")
    assert document["supportedVersions"] == ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    code, document = await executable.call("VERSION", {"cniVersion": "7.0.0"})
    assert (code, document["cniVersion"]) == (0, "1.1.0")


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
async def test_the_daemon_is_down(executable: Executable, command: str, code: int) -> None:
    exit_code, error = await executable.call(command, conf("1.0.0"))
    assert (exit_code, error["code"], error["cniVersion"]) == (1, code, "1.0.0")
    assert str(executable.socket) in error["msg"]
    assert "systemctl start carrickd" in error["details"]


async def test_removals_wait_for_the_daemon(executable: Executable, server: CniServer, door: Door) -> None:
    for name in ("one", "two", "three"):
        assert (await executable.call("ADD", CNI_CONTAINERID=name, CNI_NETNS=f"/n/{name}"))[0] == 0
    await server.stop()
    for name in ("one", "two"):
        assert await executable.call("DEL", CNI_CONTAINERID=name) == (0, None)
    waiting = waiting_directory(executable.socket)
    assert len(list(waiting.iterdir())) == 2
    (waiting / "1-1").write_bytes(b"nonsense")
    (waiting / "1-2").write_bytes(render_request({"CNI_COMMAND": "ADD"}, b"{}"))
    (waiting / "1-3.new").write_bytes(b"being written")
    await server.start()
    assert [view.spec.container_id for view in door.engine.guests.views.values()] == ["three"]
    assert [path.name for path in waiting.iterdir()] == ["1-3.new"]


async def test_nothing_to_remove_since_the_machine_started(executable: Executable) -> None:
    assert await executable.call("DEL") == (0, None)
    assert not waiting_directory(executable.socket).exists()


async def test_the_daemon_dies_in_the_middle(executable: Executable) -> None:
    waiting_directory(executable.socket).mkdir()
    asked = 0

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readexactly(10)
        writer.write(b"carrick-cni/1 0 1000\nhalf an answer")
        writer.close()

    async with await asyncio.start_unix_server(die, executable.socket):
        code, error = await executable.call("ADD")
        assert (code, error["code"]) == (1, 11)
        assert await executable.call("DEL") == (0, None)
    assert asked == 3
    assert len(list(waiting_directory(executable.socket).iterdir())) == 1


async def test_the_daemon_hangs(executable: Executable) -> None:
    waiting_directory(executable.socket).mkdir()
    finished = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await finished.wait()
        writer.close()

    async with await asyncio.start_unix_server(hang, executable.socket):
        code, error = await executable.call("ADD")
        assert (code, error["code"]) == (1, 11)
        assert "no answer within 2 seconds" in error["msg"]
        assert await executable.call("DEL") == (0, None)
        assert len(list(waiting_directory(executable.socket).iterdir())) == 1
        finished.set()
        await asyncio.sleep(0)


async def test_another_socket_in_the_configuration(
    executable: Executable, door: Door, tmp_path: Path
) -> None:
    other = CniServer(door.calls, tmp_path / "other.sock")
    await other.start()
    try:
        code, _ = await executable.call("ADD", conf(daemonSocket=str(tmp_path / "other.sock")))
        assert code == 0
    finally:
        await other.stop()


# Clients that do not behave --------------------------------------------------------------------------


async def test_a_client_that_goes_ends_its_add(
    executable: Executable, server: CniServer, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(spec: GuestSpec) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(door.engine.guests, "add", hang)
    reader, writer = await asyncio.open_unix_connection(executable.socket)
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "one",
        "CNI_NETNS": NETNS,
        "CNI_IFNAME": "eth0",
    }
    writer.write(render_request(environment, json.dumps(conf()).encode()))
    async with asyncio.timeout(30):
        await begun.wait()
        writer.close()
        await ended.wait()
    assert await reader.read() == b""


async def test_a_removal_is_finished_for_whoever_asked(
    executable: Executable, server: CniServer, door: Door
) -> None:
    await executable.call("ADD")
    _, writer = await asyncio.open_unix_connection(executable.socket)
    environment = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "one", "CNI_IFNAME": "eth0"}
    writer.write(render_request(environment, json.dumps(conf()).encode()))
    writer.close()
    async with asyncio.timeout(30):
        while door.engine.guests.views:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 10_000,
        b"carrick-cni/1 -1 5\n",
        b"carrick-cni/1 99999999 5\n",
        b"carrick-cni/1 5 999999999\n",
        b"carrick-cni/2 0 0\n",
        b"carrick-cni/1 3 0\n\xff\xfe\xfd",
    ],
)
async def test_nonsense_gets_an_error(executable: Executable, server: CniServer, data: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(executable.socket)
    writer.write(data)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"carrick-cni/1 1 ")
    assert json.loads(answer.partition(b"\n")[2])["code"] in (4, 5)


async def test_a_client_that_says_nothing_is_let_go(executable: Executable, server: CniServer) -> None:
    silent = [await asyncio.open_unix_connection(executable.socket) for _ in range(100)]
    for _, writer in silent[50:]:
        writer.write(b"carrick-cni/1 100 100\nhalf")
    # They cost the others no more than a wait.
    assert (await executable.call("ADD"))[0] == 0
    async with asyncio.timeout(60):
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()


async def test_stopping_ends_what_runs(executable: Executable, server: CniServer) -> None:
    reader, writer = await asyncio.open_unix_connection(executable.socket)
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await server.stop()
        await server.stop()
        assert await reader.read() == b""
    writer.close()
    assert not executable.socket.exists()
