"""What each CNI command does with the engine. Nothing here is decided about networking itself.

Calls for one attachment follow one another; calls for different ones run side by side.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from ...engine.contract import Guests, Networks
from ...engine.values import GuestView
from ...host.cni import CniRunner
from ...model.errors import CarrickError, Conflict, InvalidRequest, NotFound, Unavailable
from ...model.networks import Network
from .config import parse_config, version_of
from .errors import CniError, Code, error_of
from .ipam import NEEDS_LINK, IpamPlugins, is_delegated
from .namespaces import is_own_namespace
from .request import Call, Command, parse_call
from .result import render_result
from .translate import (
    NETWORK_DETAIL,
    Given,
    differences,
    guest_ids,
    network_of,
    plan_guest,
    plan_network,
    ranges_of,
    result_of,
)
from .versions import CURRENT, SUPPORTED
from .wire import NetConf

_log = logging.getLogger(__name__)
_TRIES, _TRY_EVERY_S = 200, 0.05


class Backend(Protocol):
    """What the door needs of the engine."""

    @property
    def guests(self) -> Guests: ...
    @property
    def networks(self) -> Networks: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the executable is to do: write, and exit."""

    exit_code: int
    output: bytes = b""


class CniCalls:
    """Answers calls. `timeout_s` bounds one; `is_own` tells whether a path is the host's namespace."""

    def __init__(
        self,
        engine: Backend,
        runner: CniRunner,
        *,
        timeout_s: float = 100.0,
        is_own: Callable[[str], bool] = is_own_namespace,
    ) -> None:
        self._guests = engine.guests
        self._networks = engine.networks
        self._runner = runner
        self._ipam = IpamPlugins(runner)
        self._timeout_s = timeout_s
        self._is_own = is_own
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._creating = asyncio.Lock()

    async def answer(self, environment: Mapping[str, str], data: bytes) -> Answer:
        """Carry out one call; every failure is an answer too. A cancelled ADD leaves nothing behind."""
        version = version_of(data)
        try:
            call = parse_call(environment)
            try:
                async with asyncio.timeout(self._timeout_s):
                    output = await self._carry_out(call, data)
            except TimeoutError as error:
                raise CniError(
                    Code.TRY_AGAIN_LATER, f"{call.command} took longer than {self._timeout_s:g} s"
                ) from error
        except Exception as error:
            failure = error_of(error)
            if environment.get("CNI_COMMAND") == Command.STATUS and failure.code == Code.TRY_AGAIN_LATER:
                failure = CniError(Code.NOT_AVAILABLE, failure.message, failure.details)
            return Answer(1, render_error(failure, version))
        return Answer(0, output)

    async def _carry_out(self, call: Call, data: bytes) -> bytes:
        if call.command is Command.VERSION:
            return render_versions(version_of(data))
        config = parse_config(data, call.command)
        if call.command is Command.GC:
            return await self._gc(call, config, data)
        if call.command is Command.STATUS:
            return await self._status(call, config, data)
        async with self._lock(f"{config.name}/{call.container_id}/{call.interface}"):
            if call.command is Command.ADD:
                return await self._add(call, config, data)
            if call.command is Command.CHECK:
                return await self._check(call, config, data)
            return await self._del(call, config, data)

    @asynccontextmanager
    async def _lock(self, key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1

    # ADD -----------------------------------------------------------------------------------------

    async def _add(self, call: Call, config: NetConf, data: bytes) -> bytes:
        self._check_netns(call)
        if await self._find(call, config) is not None:
            raise Conflict(
                f"container {call.container_id} has {call.interface} on network {config.name} already",
                remedy="DEL it before another ADD of the same interface",
            )
        if not is_delegated(config.ipam):
            guest = await self._attach(call, config, None)
        elif config.ipam.type in NEEDS_LINK:
            guest = await self._attach_first(call, config, data)
        else:
            given = await self._ipam.add(call, config.ipam, data)
            try:
                guest = await self._attach(call, config, given)
            except BaseException:
                await self._undo_ipam(call, config, data)
                raise
        return render_result(result_of(guest, call, config), config.cni_version)

    def _check_netns(self, call: Call) -> None:
        if not self._runner.has_netns(call.netns):
            raise _no_namespace(call)
        if not call.may_be_own_netns and self._is_own(call.netns):
            raise CniError(
                Code.INVALID_NETNS,
                f"plugin's netns and netns from CNI_NETNS should not be the same: {call.netns}",
                "it is the host's; CNI_NETNS_OVERRIDE=1 says that this is meant",
            )

    async def _attach(self, call: Call, config: NetConf, given: Given | None) -> GuestView:
        network = await self._network(config, given)
        spec = plan_guest(call, config, network, given)
        if given is None:
            spec = replace(spec, ranges=ranges_of(config, network))
        try:
            return await self._guests.add(spec)
        except NotFound as error:
            if not self._runner.has_netns(call.netns):
                raise _no_namespace(call) from error
            raise

    async def _attach_first(self, call: Call, config: NetConf, data: bytes) -> GuestView:
        """Bring the interface up bare, ask the plugin, and complete the interface with what it gave."""
        network = await self._network(config, None)
        guest = await self._guests.add(replace(plan_guest(call, config, network, None), unaddressed=True))
        try:
            given = await self._ipam.add(call, config.ipam, data)
            return await self._guests.address(guest.record.id, given.addresses, given.gateways)
        except BaseException:
            await self._undo_ipam(call, config, data)
            await self._guests.remove(guest.record.id)
            raise

    async def _undo_ipam(self, call: Call, config: NetConf, data: bytes) -> None:
        """Give back what an ADD took that came to nothing."""
        try:
            await self._ipam.tell(call, config.ipam, data, Command.DEL)
        except (CniError, CarrickError) as error:
            _log.warning("container %s: IPAM plugin %s: %s", call.container_id, config.ipam.type, error)

    async def _network(self, config: NetConf, given: Given | None) -> Network:
        """Return a configuration's network, created if it is not there and the configuration says how."""
        if (network := self._existing(config)) is not None:
            return network
        request = plan_network(config, given)
        if request is None:
            raise CniError(
                Code.INVALID_CONFIG,
                f"network {network_of(config)} not found",
                f"create it ('carrick network create {network_of(config)}'), or let the configuration: "
                '"create": {"driver": "bridge"}',
            )
        async with self._creating:
            if (network := self._existing(config)) is None:
                try:
                    await self._networks.create(request)
                except CarrickError as error:
                    network = await self._others_network(config, error)
                else:
                    network = self._existing(config)
        if network is None:
            raise Unavailable(f"network {request.name} was removed while it was created")
        return network

    async def _others_network(self, config: NetConf, error: CarrickError) -> Network:
        """Return the network that somebody else was faster to create, if that is why creating it failed.

        On another host, perhaps: then it may take a moment until it is known here. It may have come between
        the look at names and that at subnets, so any refusal may be for its sake.
        """
        for _ in range(_TRIES):
            if (network := self._existing(config)) is not None:
                return network
            if not isinstance(error, Conflict):
                break
            await asyncio.sleep(_TRY_EVERY_S)
        raise error

    def _existing(self, config: NetConf) -> Network | None:
        """Return the network of exactly that name or id; a prefix of an id is no name."""
        name = network_of(config)
        try:
            network = self._networks.find(name)
        except (NotFound, InvalidRequest):
            return None
        return network if name in (network.name, network.id) else None

    async def _find(self, call: Call, config: NetConf) -> GuestView | None:
        for guest in guest_ids(config.name, call.container_id, call.interface):
            try:
                return await self._guests.get(guest)
            except NotFound:
                continue
        return None

    # DEL, CHECK, GC, STATUS ----------------------------------------------------------------------

    async def _del(self, call: Call, config: NetConf, data: bytes) -> bytes:
        delegated = is_delegated(config.ipam)
        problem: Exception | None = None
        # A lease is given back through the link; another address once nothing has it any more.
        if delegated and config.ipam.type in NEEDS_LINK:
            problem = await self._tell_ipam(call, config, data, Command.DEL)
        for guest in guest_ids(config.name, call.container_id, call.interface):
            await self._guests.remove(guest)
        if delegated and config.ipam.type not in NEEDS_LINK:
            problem = await self._tell_ipam(call, config, data, Command.DEL)
        if problem is not None:
            raise problem
        return b""

    async def _tell_ipam(
        self, call: Call, config: NetConf, data: bytes, command: Command
    ) -> Exception | None:
        """Pass a command on; return the problem there was, for when the rest is done."""
        try:
            await self._ipam.tell(call, config.ipam, data, command)
        except (CniError, CarrickError) as error:
            return error
        return None

    async def _check(self, call: Call, config: NetConf, data: bytes) -> bytes:
        guest = await self._find(call, config)
        if guest is None:
            raise CniError(
                Code.UNKNOWN_CONTAINER,
                f"container {call.container_id} has no interface {call.interface} of network {config.name}",
                "ADD comes before CHECK",
            )
        problems = [*differences(guest, call, config), *await self._guests.check(guest.record.id)]
        if problems:
            raise CniError(
                Code.FAILED,
                f"container {call.container_id}: {call.interface} is not as it should be",
                "; ".join(problems),
            )
        if is_delegated(config.ipam):
            await self._ipam.tell(call, config.ipam, data, Command.CHECK)
        return b""

    async def _gc(self, call: Call, config: NetConf, data: bytes) -> bytes:
        listed = config.valid_attachments or config.attachments or []
        valid = {(item.container_id, item.ifname) for item in listed}

        def keep(guest: GuestView) -> bool:
            spec = guest.spec
            is_ours = spec.details.get(NETWORK_DETAIL) == config.name
            return not is_ours or (spec.container_id, spec.interface) in valid

        problem: Exception | None = None
        try:
            await self._guests.gc(keep)
        except CarrickError as error:
            problem = error
        if is_delegated(config.ipam):
            problem = await self._tell_ipam(call, config, data, Command.GC) or problem
        if problem is not None:
            raise problem
        return b""

    async def _status(self, call: Call, config: NetConf, data: bytes) -> bytes:
        network = self._existing(config)
        if network is None and plan_network(config, None) is None:
            raise CniError(
                Code.NOT_AVAILABLE,
                f"network {network_of(config)} not found",
                f"create it: carrick network create {network_of(config)}",
            )
        if is_delegated(config.ipam):
            await self._ipam.tell(call, config.ipam, data, Command.STATUS)
        elif network is not None:
            pools = (await self._networks.get(network.id)).pools
            if pools and not any(pool.available for pool in pools):
                raise CniError(Code.NOT_AVAILABLE, f"network {network.name} has no address left")
        return b""


def _no_namespace(call: Call) -> CniError:
    # "Unknown container" tells the runtime that there is nothing to clean up.
    return CniError(Code.UNKNOWN_CONTAINER, f"there is no network namespace at {call.netns[:200]}")


def render_error(error: CniError, version: str) -> bytes:
    """Write an error in a version that the runtime knows, or in ours."""
    document = {
        "cniVersion": version if version in SUPPORTED else CURRENT,
        "code": int(error.code),
        "msg": error.message,
        "details": error.details,
    }
    return msgspec.json.encode(document)


def render_versions(asked: str) -> bytes:
    """Write the answer of VERSION, in the version that it was asked in."""
    version = asked if asked in SUPPORTED else CURRENT
    return msgspec.json.encode({"cniVersion": version, "supportedVersions": list(SUPPORTED)})
