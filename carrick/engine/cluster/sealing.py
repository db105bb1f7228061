"""Sealing: this node's WireGuard, made when the first network here asks for encryption, and kept since.

The key is made as soon as the host is in a cluster and can have the device, because others need it before
they can send anything. Without the packages there is no key, and networks that ask for it are refused. It is
rotated by order, and when it is old.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from ...model.errors import CarrickError, Unavailable, Unsupported
from ...model.observed import WireguardDevice
from ..clock import Clock
from ..tasks import TaskOwner
from .runtime import ClusterRuntime

_log = logging.getLogger(__name__)
KEY_LASTS_S = 30 * 86400.0
_LOOK_S = 30.0
_PUBLISH_S = 15.0


class Seal(Protocol):
    """What `host/wireguard.py` does."""

    @property
    def name(self) -> str: ...
    async def is_possible(self) -> bool: ...
    async def ensure(self) -> None: ...
    async def view(self) -> WireguardDevice | None: ...
    async def keep(self, on_restart: Callable[[], Awaitable[object]]) -> None: ...
    async def remove(self) -> list[Exception]: ...
    def key_age_s(self) -> float: ...
    def rotate(self) -> str: ...
    def restore(self) -> None: ...
    def settle(self) -> None: ...


class SealService:
    """`make` builds the seal; it is asked only on a host that is in a cluster, for what it imports.

    `key_lasts_s` is how old a key gets, 0 for as old as the node; a tenth more or less, so that nodes that
    came together do not change theirs together.
    """

    def __init__(
        self, make: Callable[[], Seal] | None, tasks: TaskOwner, *, key_lasts_s: float = KEY_LASTS_S
    ) -> None:
        self._make = make
        self._tasks = tasks
        self.key_lasts_s = key_lasts_s
        self._rotating = asyncio.Lock()
        self._seal: Seal | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self.device: WireguardDevice | None = None
        """The device as last looked at; None where there cannot be one."""
        self.on_restart: Callable[[], Awaitable[object]] = _nothing

    @property
    def link(self) -> str:
        """Return the name of the device's link, "" if this node has none."""
        return self._seal.name if self._seal is not None and self.device is not None else ""

    async def open(self) -> None:
        """Make the key, if this host can have the device. It is in a cluster from now on."""
        if self._make is not None and self._seal is None:
            seal = self._make()
            if not await seal.is_possible():
                return
            self._seal = seal
        await self.look()

    async def look(self) -> None:
        """Look at the device again."""
        if self._seal is not None:
            self.device = await self._seal.view()

    async def ensure(self) -> None:
        """Have the device stand, and stay. Raises Unsupported naming what is missing."""
        async with self._lock:
            if self._seal is None:
                return  # the driver says what is missing, in the network's name
            await self._seal.ensure()
            await self.look()
            if self._keeping is None:
                self._keeping = self._tasks.start(self._seal.keep(self._restarted), "wireguard")

    # The key ---------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Tell whether the key is so old that another has to take its place."""
        if self._seal is None or self.device is None or not self.key_lasts_s:
            return False
        share = random.Random(self.device.public_key).uniform(0.9, 1.1)
        return self._seal.key_age_s() > share * self.key_lasts_s

    async def rotate(
        self, take: Callable[[], Awaitable[object]], publish: Callable[[str], Awaitable[object]]
    ) -> str:
        """Put a new key in the old one's place and return the public one.

        `take` has the device take the key that there is; `publish` returns once the cluster knows it. If that
        raises CarrickError, the old one is put back: a key that nobody knows opens nothing. Unsupported where
        there is none.
        """
        async with self._rotating:
            if self._seal is None:
                raise Unsupported(
                    "this node has no WireGuard key",
                    remedy="apt-get install --no-install-recommends wireguard-go wireguard-tools",
                )
            key = self._seal.rotate()
            try:
                # In this order: what peers send by the new key can be read the moment that they know it.
                await self.look()
                await take()
                await publish(key)
            except CarrickError:
                self._seal.restore()
                await self.look()
                await take()
                raise
            self._seal.settle()
            _log.info("this node's WireGuard key is another one now: %s", key)
            return key

    async def _restarted(self) -> None:
        await self.look()
        await self.on_restart()

    async def rest(self) -> None:
        """Take the device away, as nothing here needs it now; the key stays."""
        async with self._lock:
            await self._remove()
            await self.look()

    async def close(self) -> None:
        """Take the device away: this host is in no cluster any more."""
        async with self._lock:
            await self._remove()
            self._seal = self.device = None

    async def _remove(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        if self._seal is None:
            return
        try:
            for error in await self._seal.remove():
                _log.info("removing %s: %s", self._seal.name, error)
        except CarrickError as error:
            _log.warning("removing %s: %s", self._seal.name, error)


class KeyRotation:
    """Puts a new key in the old one's place and sees to it that the cluster knows it.

    `take` has the device take the key that there is.
    """

    def __init__(self, seal: SealService, clock: Clock, take: Callable[[], Awaitable[object]]) -> None:
        self._seal = seal
        self._clock = clock
        self._take = take
        self._random = random.Random()

    async def rotate(self, runtime: ClusterRuntime) -> str:
        """Put a new WireGuard key in the old one's place; return the public one once the cluster has it.

        Unavailable, with the old key as before, if the cluster's store cannot be told.
        """
        node, nodes = runtime.settings.node, runtime.mirror.nodes
        # While the store is away nobody could learn it. Whether it is there is asked first.
        runtime.membership.condition()
        await runtime.records.nodes.get(node)

        def is_known(key: str) -> bool:
            seen = nodes.get(node)
            return seen is not None and seen.wireguard_key == key

        async def publish(key: str) -> None:
            runtime.membership.notice()
            try:
                async with asyncio.timeout(_PUBLISH_S):
                    await nodes.wait_for(lambda: is_known(key))
            except TimeoutError:
                raise Unavailable(
                    runtime.mirror.problem
                    or "the cluster's store did not take the new WireGuard key in time",
                    remedy="try again when it answers",
                ) from None

        try:
            return await self._seal.rotate(self._take, publish)
        finally:
            runtime.membership.notice()

    async def run(self, runtime: ClusterRuntime) -> None:
        """Rotate the key whenever it is due, until cancelled."""
        while True:
            await self._clock.sleep(self._random.uniform(0.2, 1.0) * _LOOK_S)
            if self._seal.is_due and not runtime.mirror.problem:
                try:
                    await self.rotate(runtime)
                except CarrickError as error:
                    _log.warning("this node's WireGuard key stays for now: %s", error)


async def _nothing() -> None:
    """Nobody plans anything anew."""
