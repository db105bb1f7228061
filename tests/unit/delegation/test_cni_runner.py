"""Running CNI plugins: small scripts that answer, hang, flood, fail; none of them is left behind."""

import asyncio
import os
from pathlib import Path

import pytest

from carrick.host.cni import Answer, LocalCni
from carrick.model.errors import Failed, InvalidRequest, NotFound, Unavailable
from carrick.testing.daemon import eventually


class Scripts:
    """A directory of plugins, and a runner."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runner = LocalCni(directory / "locks")

    def write(self, name: str, script: str) -> None:
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    async def run(
        self, name: str, *, stdin: bytes = b"{}", timeout_s: float = 30, attachment: str = "one eth0"
    ) -> Answer:
        return await self.runner.run(
            name,
            ["/nonexistent", str(self.directory)],
            {"CNI_COMMAND": "ADD"},
            stdin,
            attachment=attachment,
            timeout_s=timeout_s,
        )


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


async def test_it_gets_what_it_needs_and_answers(scripts: Scripts) -> None:
    scripts.write("plain", 'cat; echo "$CNI_COMMAND in $PWD" >&2; exit 3')
    assert await scripts.run("plain", stdin=b'{"a": 1}') == Answer(3, '{"a": 1}', "ADD in /")


async def test_one_that_does_not_read(scripts: Scripts) -> None:
    scripts.write("deaf", "echo done")
    assert (await scripts.run("deaf", stdin=b"x" * 1_000_000)).output == "done\n"


async def test_a_signal(scripts: Scripts) -> None:
    scripts.write("dies", "kill -9 $$")
    assert (await scripts.run("dies")).code == -9


async def test_one_that_is_not_there(scripts: Scripts) -> None:
    with pytest.raises(NotFound, match='failed to find plugin "lost" in path') as caught:
        await scripts.run("lost")
    assert caught.value.remedy


async def test_one_that_is_no_program(scripts: Scripts) -> None:
    (scripts.directory / "text").write_text("hello")
    (scripts.directory / "text").chmod(0o755)
    with pytest.raises(Failed, match="Exec format error"):
        await scripts.run("text")


async def test_one_that_hangs_is_killed_with_its_children(scripts: Scripts) -> None:
    pids = scripts.directory / "pids"
    scripts.write("hangs", f"sleep 600 & echo $! $$ >{pids}; sleep 600")
    with pytest.raises(Failed, match='plugin type="hangs" did not end within 1 s') as caught:
        await scripts.run("hangs", timeout_s=1)
    assert "timeout=SECONDS" in str(caught.value.remedy)
    for pid in pids.read_text().split():
        eventually(lambda pid=pid: not is_alive(pid), 30)


async def test_one_that_floods_is_killed(scripts: Scripts) -> None:
    scripts.write("floods", "exec yes")
    with pytest.raises(Failed, match="more than 4 MiB"):
        await scripts.run("floods")


async def test_one_that_a_dead_daemon_left_is_waited_for(scripts: Scripts) -> None:
    scripts.write("slow", f"echo $$ >{scripts.directory}/pid; exec sleep 600")
    scripts.write("next", "echo next")
    first = asyncio.create_task(scripts.run("slow"))
    await asyncio.to_thread(eventually, (scripts.directory / "pid").exists, 30)
    # Another daemon: it knows of no run, but finds the lock.
    other = Scripts(scripts.directory)
    with pytest.raises(Unavailable, match="was started earlier for one eth0 does not end"):
        await other.run("next", timeout_s=0.2)
    assert (await other.run("next", attachment="two eth0")).output == "next\n"
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await other.run("next")).output == "next\n"
    assert list((scripts.directory / "locks").iterdir()) == []


def test_configurations_are_read_where_they_are(scripts: Scripts) -> None:
    path = scripts.directory / "x.conflist"
    path.write_text("{}")
    assert scripts.runner.read_configuration(str(path)) == "{}"
    for wrong in ("x.conflist", str(scripts.directory), "/nonexistent"):
        with pytest.raises(InvalidRequest, match=r"absolute|cannot be read"):
            scripts.runner.read_configuration(wrong)


def test_namespaces_are_told_from_files(scripts: Scripts) -> None:
    (scripts.directory / "file").touch()
    assert scripts.runner.has_netns("/proc/self/ns/net")
    assert not scripts.runner.has_netns(str(scripts.directory / "file"))
    assert not scripts.runner.has_netns("/nonexistent")


def is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
