"""Names of Docker's containers: asked for after Join, and again when something happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from carrick.doors.plugin.engine_api import DockerContainer, DockerEvent
from carrick.doors.plugin.names import DockerNames
from carrick.engine.values import GuestView
from carrick.model.errors import Unavailable
from carrick.model.guests import GuestSpec
from carrick.testing.fake_engine import FakeEngine
from carrick.testing.waiting import until

NETNS = "/run/docker/netns/1"


class FakeDocker:
    """An engine whose containers are `found` by endpoint; None in `events` is that it goes away."""

    def __init__(self) -> None:
        self.found: dict[str, DockerContainer] = {}
        self.queue: asyncio.Queue[DockerEvent | None] = asyncio.Queue()
        self.is_up = True

    async def find(self, network_id: str, endpoint_id: str) -> DockerContainer | None:
        if not self.is_up:
            raise Unavailable("nobody is there")
        return self.found.get(endpoint_id)

    async def events(self) -> AsyncIterator[DockerEvent | None]:
        if not self.is_up:
            raise Unavailable("nobody is there")
        yield None
        while (event := await self.queue.get()) is not None:
            yield event


class Site:
    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.docker = FakeDocker()
        self.there: set[str] = {NETNS}
        self.ports: tuple[int, int] | None = (5000, 5001)
        self.names = self._names(self.docker)

    def _names(self, docker: FakeDocker | None) -> DockerNames:
        return DockerNames(
            self.engine.guests,
            docker,
            has_netns=lambda path: str(path) in self.there,
            find_ports=lambda netns: self.ports,
            pauses_s=(0.01,) * 5,
        )

    def without_docker(self) -> None:
        self.names = self._names(None)

    async def guest(self, key: str = "e1") -> GuestView:
        details = {"docker-network": "n1"}
        spec = GuestSpec("docker", key, "", "bridge", f"ckd{key}", staged=True, details=details)
        return await self.engine.guests.add(spec)

    async def now(self, view: GuestView) -> GuestSpec:
        return (await self.engine.guests.get(view.record.id)).spec


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[None]:
    task = asyncio.create_task(site.names.run())
    await asyncio.sleep(0.01)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await site.engine.close()


async def test_a_guest_gets_name_aliases_namespace_and_resolver() -> None:
    site = Site()
    site.docker.found["e1"] = DockerContainer("c" * 64, "web", "host1", ("w",), NETNS)
    async with running(site):
        view = await site.guest()
        site.names.joined(view, NETNS)
        guests = site.engine.guests.views
        await until(
            lambda: bool(guests[view.record.id].spec.name and guests[view.record.id].spec.dns.servers)
        )
        spec = await site.now(view)
    assert (spec.name, spec.hostname, spec.settings.aliases) == ("web", "host1", ("w",))
    assert (spec.container_id, spec.netns, spec.dns.servers) == ("c" * 64, NETNS, ("127.0.0.11#5000/5001",))


async def test_a_namespace_that_comes_later_is_waited_for() -> None:
    site = Site()
    site.there.clear()
    async with running(site):
        view = await site.guest()
        site.names.joined(view, NETNS)
        await asyncio.sleep(0.05)
        assert (await site.now(view)).netns == ""
        site.there.add(NETNS)
        await until(lambda: site.engine.guests.views[view.record.id].spec.netns == NETNS)


async def test_names_that_come_later_are_learned_by_an_event() -> None:
    site = Site()
    async with running(site):
        view = await site.guest()
        site.names.joined(view, NETNS)
        await asyncio.sleep(0.2)
        assert (await site.now(view)).name == ""
        site.docker.found["e1"] = DockerContainer("c" * 64, "web")
        site.docker.queue.put_nowait(DockerEvent("connect", "c" * 64, ""))
        await until(lambda: site.engine.guests.views[view.record.id].spec.name == "web")


async def test_a_new_name_is_taken_over() -> None:
    site = Site()
    site.docker.found["e1"] = DockerContainer("c" * 64, "old")
    async with running(site):
        view = await site.guest()
        site.names.joined(view, NETNS)
        await until(lambda: site.engine.guests.views[view.record.id].spec.name == "old")
        site.docker.found["e1"] = DockerContainer("c" * 64, "new")
        site.docker.queue.put_nowait(DockerEvent("rename", "c" * 64, "new"))
        await until(lambda: site.engine.guests.views[view.record.id].spec.name == "new")


async def test_when_docker_is_back_everything_is_looked_at_again() -> None:
    site = Site()
    site.docker.is_up = False
    async with running(site):
        view = await site.guest()
        site.docker.found["e1"] = DockerContainer("c" * 64, "web", netns=NETNS)
        site.docker.is_up = True
        await until(lambda: site.engine.guests.views[view.record.id].spec.name == "web")
        await until(lambda: site.engine.guests.views[view.record.id].spec.dns.servers != ())
        # A restarted engine's resolvers have other ports.
        site.ports = (6000, 6001)
        site.docker.queue.put_nowait(None)
        servers = ("127.0.0.11#6000/6001",)
        await until(lambda: site.engine.guests.views[view.record.id].spec.dns.servers == servers)


async def test_without_an_engine_to_ask_there_are_no_names_but_answers() -> None:
    site = Site()
    site.without_docker()
    async with running(site):
        view = await site.guest()
        site.names.joined(view, NETNS)
        await until(lambda: site.engine.guests.views[view.record.id].spec.dns.servers != ())
        spec = await site.now(view)
    assert (spec.name, spec.netns) == ("", NETNS)


async def test_a_guest_that_goes_meanwhile_is_let_go() -> None:
    site = Site()
    site.there.clear()
    site.docker.found["e1"] = DockerContainer("c" * 64, "web")
    async with running(site):
        view = await site.guest()
        site.names.joined(view, NETNS)
        await site.engine.guests.remove(view.record.id)
        site.there.add(str(Path(NETNS)))
        await asyncio.sleep(0.1)
    assert site.engine.guests.views == {}
