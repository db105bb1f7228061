"""The fakes keep the contracts they stand for; mypy checks that they fit the protocols."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from carrick.host.runtime import (
    CannotStart,
    ExecRequest,
    ImageStore,
    LaunchRequest,
    LocalImageStore,
    LocalRuntime,
    LocalVolumeStore,
    LogQuery,
    ProcessStatus,
    Runtime,
    Stream,
    VolumeStore,
)
from carrick.model.containers import ContainerConfig, HostConfig
from carrick.model.errors import Conflict, Failed, NotFound
from carrick.model.ids import ContainerId, ImageId
from carrick.testing.fake_runtime import FakeImageStore, FakeRuntime, FakeVolumeStore


def runtimes(fake: FakeRuntime, real: LocalRuntime) -> tuple[Runtime, ...]:
    return fake, real


def stores(fake: FakeImageStore, real: LocalImageStore) -> tuple[ImageStore, ...]:
    return fake, real


def volume_stores(fake: FakeVolumeStore, real: LocalVolumeStore) -> tuple[VolumeStore, ...]:
    return fake, real


ONE = ContainerId("c1")


def request(*command: str) -> LaunchRequest:
    return LaunchRequest(ONE, ImageId("sha256:0"), ContainerConfig(cmd=command), HostConfig())


async def test_a_life_is_told_once_and_again_after_a_restart() -> None:
    runtime = FakeRuntime()
    await runtime.provision(ONE, ImageId("sha256:0"))
    session = await runtime.attach(ONE)
    await runtime.create(request("serve"))
    await runtime.start(ONE)
    runtime.emit(ONE, b"hello\nworld")
    runtime.emit(ONE, b"oops\n", Stream.STDERR)
    runtime.exit(ONE, 3)
    assert [output.data async for output in session.output()] == [b"hello\nworld", b"oops\n"]
    logged = [e.data async for e in runtime.logs(ONE, LogQuery(stderr=False, tail=1))]
    assert logged == [b"world"]
    assert (await anext(runtime.exits())).exit_code == 3
    runtime.restart_daemon()
    await runtime.open()
    assert (await anext(runtime.exits())).exit_code == 3
    await runtime.release(ONE)
    runtime.restart_daemon()
    await runtime.open()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(runtime.exits())
    assert (await runtime.state(ONE)).status is ProcessStatus.NONE
    await runtime.remove(ONE)
    assert await runtime.scan() == ()


async def test_errors_and_execs() -> None:
    runtime = FakeRuntime()
    with pytest.raises(CannotStart) as caught:
        await runtime.create(request("nonexistent"))
    assert caught.value.exit_code == 127
    runtime.fail_at["start"] = Failed("broken")
    await runtime.create(request("serve"))
    with pytest.raises(Failed, match="broken"):
        await runtime.start(ONE)
    await runtime.start(ONE)
    session = await runtime.exec(ExecRequest("e1", ONE, ("sh",)))
    runtime.containers[ONE].execs["e1"][1].exit(7)
    assert await session.wait() == 7
    await runtime.kill(ONE, 15)
    assert (await runtime.wait_exit(ONE)).exit_code == 143
    with pytest.raises(Conflict):
        await runtime.kill(ONE, 9)
    with pytest.raises(NotFound):
        await runtime.stats(ContainerId("absent"))


async def test_images_and_volumes() -> None:
    images = FakeImageStore()
    images.add("busybox")
    await images.tag("busybox", "other:1")
    assert (await images.get("other:1")).repo_tags == ("busybox:latest", "other:1")

    async def text() -> AsyncIterator[bytes]:
        yield b"one\ntwo:2\n"

    assert await images.load(text()) == ("one:latest", "two:2")
    with pytest.raises(NotFound, match="manifest for absent:latest not found"):
        await images.pull("absent")
    volumes = FakeVolumeStore()
    await volumes.create("v1")
    with pytest.raises(Conflict):
        await volumes.remove("v1", users=[ONE])
    await volumes.remove("v1")
    assert await volumes.list() == ()
