"""The Linux kernel: a few worker threads, each with its own netlink sockets.

Threads, because entering a namespace is a property of a thread and because a link's removal blocks for
RCU grace periods (some 20 ms) that must not hold up the event loop. Order matters only within one
call: consecutive steps of one namespace run in one visit to it.
"""

import asyncio
import logging
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from ...model import steps
from ...model.errors import CarrickError, KernelRefused, NotFound
from ...model.observed import LinkState, NamespaceState, Neighbour, WireguardState
from ...model.steps import Rule, Step
from . import netns as namespaces
from .announce import announce
from .bpf import Shortcuts, are_supported
from .contract import SHORTCUT
from .ipsec import has_ipsec
from .links import Rtnl
from .nft import Nft
from .own import OwnLinks
from .rows import no_link
from .sysctl import find_sysctl, list_legacy_tables, read_sysctl, write_sysctl
from .wireguard import read_wireguard, set_wireguard

T = TypeVar("T")
_WORKERS = 4
_POLL_S = 0.0002
_log = logging.getLogger(__name__)


class LinuxKernel:
    """Implements `Kernel` on the kernel of this machine, in the namespace it is made in."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="kernel")
        self._reapers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="reaper")
        self._local = threading.local()
        # One socket per worker thread; appending and reading a list are atomic.
        self._sockets: list[Rtnl] = []
        # Deleting one end of a pair inside a sandbox is notified here, with the port id from in there.
        self._visitors: deque[int] = deque(maxlen=_WORKERS * 8)
        self._own_links = OwnLinks()
        self._nft = Nft()
        self._shortcuts = Shortcuts()
        self._has_shortcuts = False

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self._reapers.shutdown(wait=True)
        while self._sockets:
            self._sockets.pop().close()
        self._nft.close()
        self._shortcuts.close()

    async def apply(self, steps: Sequence[Step]) -> None:
        if steps:
            await self._run(self._apply, steps)

    async def remove(self, steps: Sequence[Step]) -> list[Exception]:
        return await self._run(self._remove, steps)

    async def read(self, netns: str = "") -> NamespaceState:
        return await self._run(self._inside, netns, Rtnl.read if netns else self._read_home)

    async def read_fdb(self, link: str, netns: str = "") -> dict[str, frozenset[str]]:
        return await self._run(self._inside, netns, lambda rtnl: rtnl.read_fdb(link))

    async def read_neighbours(self, link: str, netns: str = "") -> dict[str, Neighbour]:
        return await self._run(self._inside, netns, lambda rtnl: rtnl.read_neighbours(link))

    async def read_wireguard(self, link: str) -> WireguardState:
        return await self._run(read_wireguard, link)

    async def read_rules(self, netns: str = "") -> tuple[Rule, ...]:
        return await self._run(self._inside, netns, Rtnl.read_rules)

    async def has_netns(self, path: str) -> bool:
        return namespaces.is_netns(Path(path))

    async def netns_id(self, path: str) -> int:
        return await self._run(self._netns_id, path)

    async def read_shortcut_bytes(self) -> dict[str, dict[str, int]]:
        return await self._run(self._shortcuts.sent)

    async def has_ipsec(self) -> bool:
        return await self._run(self._inside, "", lambda _: has_ipsec())

    async def supports(self, kind: str) -> bool:
        if kind == SHORTCUT:
            # What a kernel has it keeps; what it lacks may be a module.
            self._has_shortcuts = self._has_shortcuts or await self._run(are_supported)
            return self._has_shortcuts
        return await self._run(self._inside, "", lambda rtnl: rtnl.supports(kind))

    async def list_netns(self, directory: Path) -> list[str]:
        return sorted(str(path) for path in directory.iterdir()) if directory.is_dir() else []

    async def list_nft(self, table: str) -> list[dict[str, Any]] | None:
        return await self._list_if_there(f"table {table}")

    async def list_nft_chains(self) -> list[dict[str, Any]]:
        listed = await self._run(self._nft.run_json, "list chains")
        return [item["chain"] for item in listed if "chain" in item]

    async def list_nft_chain(self, chain: str) -> list[dict[str, Any]] | None:
        return await self._list_if_there(f"chain {chain}")

    async def _list_if_there(self, what: str) -> list[dict[str, Any]] | None:
        try:
            return await self._run(self._nft.run_json, f"list {what}")
        except KernelRefused as error:
            if "No such file" in error.message:
                return None
            raise

    async def list_nft_tables(self) -> list[str]:
        listed = await self._run(self._nft.run_json, "list tables")
        return [f"{item['table']['family']} {item['table']['name']}" for item in listed if "table" in item]

    async def list_nft_all(self) -> list[dict[str, Any]]:
        return await self._run(self._nft.run_json, "list ruleset")

    async def read_sysctl(self, key: str, netns: str = "") -> str | None:
        return await self._run(self._inside, netns, lambda _: read_sysctl(key))

    async def list_legacy_tables(self) -> list[str]:
        return await self._run(self._inside, "", lambda _: list_legacy_tables())

    async def find_sysctl(self, keys: Sequence[str], value: str) -> list[str]:
        return await self._run(find_sysctl, keys, value)

    def is_own_change(self, port_id: int, link: str = "", row: str = "") -> bool:
        if row:
            return self._own_links.take_row(link, row)
        if link:
            return link in self._own_links
        return (
            any(rtnl.port_id == port_id for rtnl in self._sockets)
            or port_id in tuple(self._visitors)
            or port_id in self._nft.port_ids()
        )

    # In a worker thread ----------------------------------------------------------------------

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns in a thread. Whoever is cancelled goes on when the thread is done.

        Nobody can stop it, and who takes back what it has made must not do so while it is still making it.
        """
        running = self._threads.submit(function, *arguments)
        work = asyncio.wrap_future(running)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not running.cancel() and not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            if work.done() and not work.cancelled():
                # Seen: nobody waits for it any more.
                work.exception()
            raise

    def _rtnl(self) -> Rtnl:
        """Return this thread's socket in the daemon's own namespace."""
        rtnl: Rtnl | None = getattr(self._local, "rtnl", None)
        if rtnl is None:
            rtnl = self._local.rtnl = Rtnl()
            self._sockets.append(rtnl)
        return rtnl

    def _inside(self, netns: str, function: Callable[[Rtnl], T]) -> T:
        # The socket of the daemon's own namespace is made before the thread is anywhere else.
        home = self._rtnl()
        if not netns:
            return function(home)
        with namespaces.entered(netns):
            rtnl = Rtnl()
            self._visitors.append(rtnl.port_id)
            try:
                return function(rtnl)
            finally:
                rtnl.close()

    def _netns_id(self, path: str) -> int:
        self._rtnl()
        try:
            with namespaces.entered(path):
                return namespaces.current_id()
        except (CarrickError, OSError):
            return 0

    def _apply(self, sequence: Sequence[Step]) -> None:
        for netns, group in groupby(sequence, key=_namespace_of):
            batch = list(group)

            def visit(rtnl: Rtnl, batch: list[Step] = batch) -> None:
                for kind, same in groupby(batch, key=type):
                    if kind in _ROWS:
                        self._apply_rows(rtnl, list(same))
                        continue
                    for step in same:
                        self._apply_one(rtnl, step)

            if all(type(step) in _NEEDS_NO_SOCKET for step in batch):
                for step in batch:
                    self._apply_plain(step)
            elif all(type(step) in _REMOVALS for step in batch):
                # What a namespace held has gone with it.
                with suppress(NotFound):
                    self._inside(netns, visit)
            else:
                self._inside(netns, visit)

    def _remove(self, sequence: Sequence[Step]) -> list[Exception]:
        errors: list[Exception] = []
        for step in sequence:
            try:
                self._apply([step])
            except NotFound:
                continue
            except CarrickError as error:
                errors.append(error)
        return errors

    def _apply_rows(self, rtnl: Rtnl, batch: list[Step]) -> None:
        for step in batch:
            self._own_links.note(step)
        with self._shortcuts.following(batch):
            rtnl.apply_rows(batch)

    def _apply_one(self, rtnl: Rtnl, step: Step) -> None:
        self._own_links.note(step)
        if isinstance(step, steps.DeleteLink) and not step.netns:
            self._shortcuts.forget(step.name, _index(step.name))
        if isinstance(step, steps.DeleteLink) and step.netns:
            self._note_peer(rtnl, step)
        if isinstance(step, steps.DeleteLink) and not step.wait and not step.netns:
            self._delete_link(step)
        elif rtnl.handles(step):
            rtnl.apply(step)
        elif isinstance(step, steps.Announce):
            _announce(step)
        elif isinstance(step, steps.SetShortcut | steps.AddShortcut | steps.RemoveShortcut):
            self._apply_shortcut(rtnl, step)
        elif isinstance(step, steps.SetSysctl):
            try:
                write_sysctl(step.key, step.value)
            except KernelRefused:
                if not step.optional:
                    raise
        else:
            self._apply_plain(step)

    def _apply_shortcut(
        self, rtnl: Rtnl, step: steps.SetShortcut | steps.AddShortcut | steps.RemoveShortcut
    ) -> None:
        try:
            if isinstance(step, steps.AddShortcut):
                port = _there(rtnl.find(step.port), step.port)
                self._shortcuts.add(step.tunnel, port, step.mac, step.address)
                return
            links = rtnl.read().links
            tunnel = _there(links.get(step.tunnel), step.tunnel)
            ports = [link for link in links.values() if link.master == step.bridge]
            if isinstance(step, steps.RemoveShortcut):
                self._shortcuts.remove(tunnel, ports)
            else:
                bridge = _there(links.get(step.bridge), step.bridge)
                self._shortcuts.set(tunnel, bridge, ports, rtnl.read_fdb(step.tunnel), step.subnet)
        except OSError as error:
            _log.warning("%s: %s; packets go the plain way", step.describe(), error.strerror)

    def _read_home(self, rtnl: Rtnl) -> NamespaceState:
        state = rtnl.read()
        try:
            shortcuts = self._shortcuts.states(state.links.values(), rtnl.read_fdb)
        except OSError as error:
            _log.warning("which links take part in shortcuts is not known: %s", error.strerror)
            return state
        if not shortcuts:
            return state
        links = {
            name: replace(link, shortcut=shortcuts[name]) if name in shortcuts else link
            for name, link in state.links.items()
        }
        return replace(state, links=links)

    def _delete_link(self, step: steps.DeleteLink) -> None:
        """Delete a link of the daemon's own namespace, and return when it is gone for everybody.

        That is the first millisecond: the kernel takes the link down and strikes it, and its peer, off
        every list. It answers only after the grace periods it needs to free them, some 20 ms later. For a
        veth nobody has to wait for that. (A bridge holds the routing lock meanwhile: who goes on at once
        waits in the next request instead.)
        """
        deletion = self._reapers.submit(lambda: self._rtnl().apply(step))
        while not deletion.done():
            if not _exists(step.name):
                deletion.add_done_callback(_log_failure)
                return
            time.sleep(_POLL_S)
        deletion.result()

    def _note_peer(self, rtnl: Rtnl, step: steps.DeleteLink) -> None:
        """The end on the host goes with the end in a sandbox."""
        found = rtnl.find(step.name)
        if found is not None and found.kind == "veth":
            # The index counts where the peer is: here, as far as we make pairs.
            name = self._rtnl().name(found.peer_index)
            if name:
                self._own_links.note_name(name)

    def _apply_plain(self, step: Step) -> None:
        match step:
            case steps.CreateNetns(path):
                namespaces.create_netns(Path(path))
            case steps.DeleteNetns(path):
                namespaces.delete_netns(Path(path))
            case steps.Nft(commands):
                self._nft.run(*commands)
            case steps.ForgetFlows():
                _forget_flows(step)
            case steps.SetWireguard():
                set_wireguard(step)
            case _:
                raise TypeError(f"no handler for step {step!r}")


def _announce(step: steps.Announce) -> None:
    try:
        announce(step.link, step.mac, step.addresses)
    except OSError as error:
        raise KernelRefused(
            f"{step.describe()}: {error.strerror}", errno=error.errno or 0, subject=step.link
        ) from error


def _exists(link: str) -> bool:
    return _index(link) > 0


def _index(link: str) -> int:
    """Return the index of a link here, 0 if there is none."""
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return 0


def _there(link: LinkState | None, name: str) -> LinkState:
    if link is None:
        raise no_link(name)
    return link


def _log_failure(deletion: Future[None]) -> None:
    if (error := deletion.exception()) is not None:
        _log.warning("a link was struck off, but not deleted: %s", error)


_ADDED_ROWS = {steps.AddRoute, steps.AddRule, steps.SetFdb, steps.AddNeighbour}
_REMOVED_ROWS = {steps.RemoveRoute, steps.RemoveRule, steps.RemoveFdb, steps.RemoveNeighbour}
_ROWS = _ADDED_ROWS | _REMOVED_ROWS
_REMOVALS = {steps.DeleteLink, steps.RemoveAddress} | _REMOVED_ROWS
_NEEDS_NO_SOCKET = {steps.CreateNetns, steps.DeleteNetns, steps.Nft, steps.ForgetFlows, steps.SetWireguard}


def _namespace_of(step: Step) -> str:
    # A slave names the namespace that it is made *into*; the message goes to the parent's. A link that is
    # moved has two, and its handler goes into them by itself.
    if isinstance(step, steps.CreateSlave | steps.MoveLink):
        return ""
    return str(getattr(step, "netns", ""))


def _forget_flows(step: steps.ForgetFlows) -> None:
    command = ["conntrack", "-D", "-f", f"ipv{step.version}", "-p", step.protocol]
    command += ["--orig-port-dst", str(step.port)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelRefused(f"conntrack could not be run: {error}", subject=step.describe()) from error
    # conntrack exits 1 when nothing matched, which is as good.
    if done.returncode not in {0, 1}:
        raise KernelRefused(f"{step.describe()}: {done.stderr.strip()}", subject=step.describe())
