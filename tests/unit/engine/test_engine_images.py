"""Images as the engine sees them: what a commit takes over, what a prune takes away, and what is told of it.

And what a new container refers to that is not there.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carrick.engine.engine import CarrickEngine
from carrick.engine.values import CreateContainer
from carrick.model.containers import ContainerConfig, HostConfig, ImageConfig
from carrick.model.errors import Conflict, InvalidRequest, NotFound
from carrick.testing.fake_machine import FakeMachine


@pytest.fixture
async def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@pytest.fixture
async def engine(machine: FakeMachine) -> AsyncIterator[CarrickEngine]:
    async with machine.start() as running:
        yield running


async def create(engine: CarrickEngine, name: str, platform: str = "", **host: object) -> str:
    config = ContainerConfig(
        image="busybox", cmd=("sh", "-c", "x"), env=("A=1", "B=2"), labels={"of": "box"}, stop_signal="SIGINT"
    )
    host_config = HostConfig(**({"network_mode": "bridge"} | host))  # type: ignore[arg-type]
    created = await engine.containers.create(
        CreateContainer(config, host_config, name=name, platform=platform)
    )
    return created.id


async def told(machine: FakeMachine, engine: CarrickEngine, kind: str) -> list[tuple[str, str, str]]:
    """Return the action, the actor and the name of each event so far."""
    stream = engine.system.events(since_ns=0, until_ns=machine.clock.now_ns(), filters={"type": (kind,)})
    return [(event.action, event.actor_id, event.attributes.get("name", "")) async for event in stream]


async def archive(text: bytes = b"") -> AsyncIterator[bytes]:
    yield text


async def commit(engine: CarrickEngine, reference: str, *changes: str) -> str:
    return await engine.images.commit(
        "box", reference, author="me", comment="why", changes=changes, pause=True
    )


async def test_a_commit_takes_over_what_the_container_says(engine: CarrickEngine) -> None:
    await create(engine, "box")
    image = await engine.images.get(await commit(engine, "made", "ENV B=3 C=4", "LABEL more=1", "CMD ls"))
    assert image.config == ImageConfig(
        env=("A=1", "B=3", "C=4"),
        cmd=("/bin/sh", "-c", "ls"),
        labels={"of": "box", "more": "1"},
        stop_signal="SIGINT",
    )
    assert (image.author, image.comment) == ("me", "why")
    assert image.parent == (await engine.images.get("busybox")).id
    entry = await engine.images.get(await commit(engine, "entry", 'ENTRYPOINT ["run"]'))
    assert (entry.config.entrypoint, entry.config.cmd) == (("run",), None)
    for changes, words in (("RUN x", "not a valid change command"), ("CMD", "requires")):
        with pytest.raises(InvalidRequest, match=words):
            await commit(engine, "made", changes)
    with pytest.raises(InvalidRequest, match="must be lowercase"):
        await commit(engine, "MADE")


async def test_what_is_told_of_a_commit(engine: CarrickEngine, machine: FakeMachine) -> None:
    box = await create(engine, "box")
    await engine.containers.start("box")
    made = await commit(engine, "made")
    actions = [action for action, actor, _ in await told(machine, engine, "container") if actor == box]
    assert actions[-3:] == ["pause", "unpause", "commit"]
    assert (await told(machine, engine, "image"))[-1] == ("tag", made, "made")
    assert (await engine.containers.get("box")).state.status != "paused"


async def test_what_is_told_of_images(engine: CarrickEngine, machine: FakeMachine) -> None:
    busybox = (await engine.images.get("busybox")).id
    await engine.images.tag("busybox", "other:v1")
    await engine.images.remove("other:v1")
    imported = await engine.images.import_tar(archive(), "imported", (), "")
    saved = [part async for part in engine.images.save(("busybox",))]
    await engine.images.load(archive(b"".join(saved)), lambda _: None)
    await engine.images.remove("imported")
    assert await told(machine, engine, "image") == [
        ("tag", busybox, "other:v1"),
        ("untag", busybox, busybox),
        ("import", imported, imported),
        ("tag", imported, "imported"),
        ("save", busybox, busybox),
        ("load", busybox, busybox),
        ("untag", imported, imported),
        ("delete", imported, imported),
    ]


async def test_what_a_prune_takes(engine: CarrickEngine, machine: FakeMachine) -> None:
    images = engine.images
    for name, label in (("one", "LABEL keep=1"), ("two", "LABEL drop=1")):
        await images.import_tar(archive(), name, (label,), "")
    await create(engine, "box")  # of busybox

    async def pruned(**filters: tuple[str, ...]) -> list[str]:
        removals, _ = await images.prune(filters)
        return [item.untagged for item in removals if item.untagged]

    assert await pruned() == []
    assert await pruned(dangling=("false",), until=("1h",)) == []
    assert await pruned(dangling=("false",), label=("absent",)) == []
    assert await pruned(dangling=("false",), **{"label!": ("keep",)}) == ["two:latest"]
    assert await pruned(dangling=("0",), label=("keep=1",)) == ["one:latest"]
    assert await pruned(dangling=("false",)) == []
    with pytest.raises(InvalidRequest, match="invalid filter 'colour'"):
        await pruned(colour=("red",))


async def test_an_image_for_another_platform_is_not_there(engine: CarrickEngine) -> None:
    with pytest.raises(NotFound) as caught:
        await create(engine, "box", "linux/riscv64")
    assert caught.value.message == (
        "image with reference busybox was found but does not provide the specified platform (linux/riscv64)"
    )
    with pytest.raises(InvalidRequest, match="cannot parse platform specifier"):
        await create(engine, "box", "a/b/c/d")
    await create(engine, "box", "linux/amd64")


@pytest.mark.parametrize(
    "host",
    [
        {"network_mode": "container:nosuch"},
        {"pid_mode": "container:nosuch"},
        {"ipc_mode": "container:nosuch"},
        {"volumes_from": ("nosuch",)},
    ],
)
async def test_another_container_that_is_not_there(engine: CarrickEngine, host: dict[str, object]) -> None:
    """The request is wrong; NotFound would have a client fetch the image."""
    with pytest.raises(InvalidRequest, match=r"^No such container: nosuch$"):
        await create(engine, "box", **host)


async def test_links_on_the_default_network(engine: CarrickEngine) -> None:
    await create(engine, "away", network_mode="none")
    await create(engine, "near")
    await create(engine, "box", links=("away:x",))
    await create(engine, "box2", links=("near:x",))
    with pytest.raises(InvalidRequest, match=r"^Cannot link to /away, as it does not belong to the default"):
        await engine.containers.start("box")
    with pytest.raises(Conflict, match=r"^Cannot link to a non running container: /near AS /box2/x$"):
        await engine.containers.start("box2")
    await engine.containers.start("near")
    await engine.containers.start("box2")


async def test_when_it_ended_stays_known(engine: CarrickEngine, machine: FakeMachine) -> None:
    box = await create(engine, "box")
    await engine.containers.start("box")
    machine.runtime.exit(engine.state.find_container(box).id, 0)
    await machine.settle()
    ended = (await engine.containers.get("box")).state.finished_at
    assert ended is not None
    await engine.containers.start("box")
    assert (await engine.containers.get("box")).state.finished_at == ended
    stream = engine.system.events(since_ns=0, until_ns=machine.clock.now_ns())
    happened = [(event.type, event.action, dict(event.attributes)) async for event in stream]
    order = [f"{kind} {action}" for kind, action, _ in happened]
    assert order.index("container die") < order.index("network disconnect")
    die = next(attributes for _, action, attributes in happened if action == "die")
    assert (die["exitCode"], die["execDuration"]) == ("0", "0")


async def test_a_path_is_missed_in_the_words_of_the_request(engine: CarrickEngine) -> None:
    await create(engine, "box")
    with pytest.raises(NotFound, match=r"^Could not find the file /nosuch in container box$"):
        await engine.containers.stat_path("box", "/nosuch")
    with pytest.raises(NotFound, match=r"^cannot kill container: nosuch: No such container: nosuch$"):
        await engine.containers.kill("nosuch")
