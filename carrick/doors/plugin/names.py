"""What libnetwork's protocol does not tell of a container: its name, and when its namespace is there.

After Join this is found out, in the background:

- The namespace. A container that is being started has none at Join: dockerd joins it to its networks first,
  and moves the interface when the runtime has made it. As soon as it is there, names are answered in it.
- Docker's own resolver in it, which is asked what we do not know: links, networks of other drivers. Docker's
  redirection of 127.0.0.11 port 53 comes after ours, so ours is the one that the container meets.
- Whose the endpoint is. The Docker Engine is asked; then name and aliases are answered on all hosts.

Nothing fails for want of a name. When dockerd is away it is tried again, and when it is back everything is
looked at once more: names may have changed, and its resolvers have other ports.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from ...engine.contract import Guests
from ...engine.values import GuestView
from ...host.kernel.netns import is_netns
from ...model.errors import CarrickError, NotFound, Unavailable
from ...model.guests import GuestDns
from ...model.ids import ContainerId
from .docker_resolver import find_resolver_ports
from .endpoints import NETWORK_DETAIL
from .engine_api import DockerContainer, DockerEvent
from .ipam import ENGINE

log = logging.getLogger(__name__)
T = TypeVar("T")
RESOLVER = "127.0.0.11"
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""How long to wait between looks for a name; after the last, events lead back to it."""
_NAMESPACE_EVERY_S, _NAMESPACE_FOR_S = 0.02, 30.0
_RESOLVER_EVERY_S, _RESOLVER_FOR_S = 0.05, 5.0
_LONGEST_AWAY_S = 15.0


class Docker(Protocol):
    """What is needed of the engine; `DockerApi`."""

    async def find(self, network_id: str, endpoint_id: str) -> DockerContainer | None: ...
    def events(self) -> AsyncIterator[DockerEvent | None]: ...


class DockerNames:
    """`run` it as a task; `joined` may be called at any time. `docker` None is not to be asked."""

    def __init__(
        self,
        guests: Guests,
        docker: Docker | None,
        *,
        has_netns: Callable[[Path], bool] = is_netns,
        find_ports: Callable[[str], tuple[int, int] | None] = find_resolver_ports,
        pauses_s: tuple[float, ...] = _PAUSES_S,
    ) -> None:
        self._guests = guests
        self._docker = docker
        self._has_netns = has_netns
        self._find_ports = find_ports
        self._pauses_s = pauses_s
        self._is_away = False
        self._tasks: asyncio.TaskGroup | None = None
        self._entering: set[ContainerId] = set()
        self._asking: dict[ContainerId, asyncio.Event] = {}
        """The guests whose names are being asked for; set to ask again."""

    async def run(self) -> None:
        """Follow the engine until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._follow()
            finally:
                self._tasks = None

    def joined(self, view: GuestView, netns: str) -> None:
        """Begin to look for a guest that has joined the container whose namespace is, or will be, there."""
        self._enter(view, netns)
        self._ask([view])

    # --- following

    async def _follow(self) -> None:
        if self._docker is None:
            await asyncio.Event().wait()
            return
        away_s = 0.5
        while True:
            try:
                async for event in self._docker.events():
                    away_s = 0.5
                    await self._take(event)
                raise Unavailable("the Docker Engine has closed the connection")
            except CarrickError as error:
                if not self._is_away:
                    log.info("names of Docker's containers are not known for now: %s", error)
                self._is_away = True
            except Exception:
                log.exception("following the Docker Engine")
            await asyncio.sleep(away_s)
            away_s = min(2 * away_s, _LONGEST_AWAY_S)

    async def _take(self, event: DockerEvent | None) -> None:
        guests = await self._guests.list(ENGINE)
        if event is None:
            self._is_away = False
            log.info("following the Docker Engine")
            self._ask(guests)
        elif event.action == "rename":
            self._ask(view for view in guests if view.spec.container_id == event.container_id)
        else:
            self._ask(view for view in guests if not view.spec.name)

    # --- the namespace, and the resolver in it

    def _enter(self, view: GuestView, netns: str) -> None:
        if self._tasks is not None and netns and view.record.id not in self._entering:
            self._entering.add(view.record.id)
            self._tasks.create_task(
                self._settle_namespace(view, netns), name=f"namespace of {view.spec.key[:12]}"
            )

    async def _settle_namespace(self, view: GuestView, netns: str) -> None:
        guest = view.record.id
        try:
            await _until(partial(self._is_there, netns), _NAMESPACE_EVERY_S, _NAMESPACE_FOR_S)
            await self._guests.settle(guest, netns=netns)
            find_ports = partial(asyncio.to_thread, self._find_ports, netns)
            udp, tcp = await _until(find_ports, _RESOLVER_EVERY_S, _RESOLVER_FOR_S)
            await self._guests.settle(guest, dns=GuestDns((f"{RESOLVER}#{udp}/{tcp}",)))
        except (TimeoutError, NotFound):
            return  # it has no resolver, or is gone by now
        except CarrickError as error:
            log.warning("names in the container of endpoint %s: %s", view.spec.key[:12], error)
        finally:
            self._entering.discard(guest)

    async def _is_there(self, netns: str) -> bool | None:
        return self._has_netns(Path(netns)) or None

    # --- the name

    def _ask(self, views: Iterable[GuestView]) -> None:
        if self._tasks is None or self._docker is None:
            return
        for view in views:
            if (asking := self._asking.get(view.record.id)) is not None:
                asking.set()
                continue
            again = self._asking[view.record.id] = asyncio.Event()
            self._tasks.create_task(
                self._settle_name(self._docker, view, again), name=f"name of {view.spec.key[:12]}"
            )

    async def _settle_name(self, docker: Docker, view: GuestView, again: asyncio.Event) -> None:
        """Ask until there is an answer, and begin anew whenever something happens meanwhile."""
        try:
            pauses = iter(self._pauses_s)
            while True:
                again.clear()
                is_named = await self._ask_once(docker, view)
                if again.is_set():
                    pauses = iter(self._pauses_s)
                    continue
                pause_s = next(pauses, None)
                if is_named or pause_s is None:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await again.wait()
        finally:
            del self._asking[view.record.id]

    async def _ask_once(self, docker: Docker, view: GuestView) -> bool:
        """Return whether there is no more to ask."""
        try:
            found = await docker.find(view.spec.details.get(NETWORK_DETAIL, ""), view.spec.key)
            if found is None:
                return False
            await self._guests.settle(
                view.record.id,
                name=found.name,
                hostname=found.hostname,
                aliases=found.aliases,
                container_id=found.id,
            )
        except NotFound:
            return True  # the guest has gone
        except CarrickError as error:
            log.debug("name of endpoint %s: %s", view.spec.key[:12], error)
            return False
        except Exception:
            log.exception("name of endpoint %s", view.spec.key[:12])
            return True
        # After a restart of either side the namespace is known, if at all, from here.
        self._enter(view, found.netns)
        return True


async def _until(probe: Callable[[], Awaitable[T | None]], every_s: float, for_s: float) -> T:
    """Return what is there once it is. TimeoutError when it was waited for long enough."""
    async with asyncio.timeout(for_s):
        while True:
            if (found := await probe()) is not None:
                return found
            await asyncio.sleep(every_s)
