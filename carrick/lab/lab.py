"""A lab as a whole: put up, broken, mended, taken down.

Every call reads the lab's record, so a `Lab` is little more than a directory's name, and any process may make
one. What changes a lab holds its lock. The record says what there is before it is made; what was left behind
half-way is found there, and taken down.
"""

import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

from ..model.errors import Conflict, Failed, InvalidRequest, NotFound, Unavailable
from . import daemons, etcd, faults, underlay
from .contents import Contents, read_contents
from .nodes import boot, cgroup_of, files_of, prepare_files, remove_cgroups
from .plan import Kind, LabSpec, Node, Topology, check_name, plan_lab
from .processes import Process
from .programs import check_programs, check_root, check_state_dir
from .record import MARKER, Faults, LabDirectory, Phase, Record, remove_directory

T = TypeVar("T")
Say = Callable[[str], None]
_WORKERS = 8


def _say_nothing(line: str) -> None:
    pass


class Lab:
    """The lab whose record is in `directory`, be it up or not."""

    def __init__(self, directory: Path) -> None:
        self._directory = LabDirectory(directory)
        self._holder: subprocess.Popen[bytes] | None = None
        self._writing = Lock()

    # Reading ---------------------------------------------------------------------------------

    def record(self) -> Record:
        """Return the record of the lab, which is up. Raises NotFound if there is none, Conflict half-way."""
        record = self._directory.read()
        if record is None:
            raise NotFound(f"there is no lab in {self._directory.path}", remedy="'carrick lab up' makes one.")
        if record.phase is not Phase.UP:
            raise Conflict(
                f"lab {record.name} is {record.phase}: another command is at it, or was stopped half-way",
                remedy="If none is, 'carrick lab down' clears it away, and so does 'carrick lab up'.",
            )
        return record

    @staticmethod
    def topology(record: Record) -> Topology:
        """Return the lab's nodes."""
        return plan_lab(record.spec)

    def process(self, name: str) -> Process:
        """Return the first process of a node that runs. Raises NotFound or Unavailable."""
        record = self.record()
        node = plan_lab(record.spec).node(name)
        return _running(record, node)

    # Up and down -----------------------------------------------------------------------------

    def up(
        self,
        spec: LabSpec,
        *,
        state_dir: Path,
        name: str = "lab",
        archives: Sequence[Path] = (),
        busybox: bool = True,
        tied: bool = False,
        say: Say = _say_nothing,
    ) -> Record:
        """Put a lab up, with daemons that answer; on failure or an interrupt nothing is left of it.

        `archives` are loaded on every host: images as `save` wrote them, or root file systems, which become
        an image named like the file. `tied`: the kernel ends the lab with the calling thread.
        Raises Conflict if it is up already.
        """
        check_root()
        check_name(name)
        topology = plan_lab(spec)
        check_programs(spec)
        check_state_dir(state_dir, Path("/proc/self/mounts").read_text())
        contents = read_contents(archives, busybox=busybox)
        with self._directory.locked():
            if (old := self._directory.read()) is not None:
                if old.phase is Phase.UP and self._router_of(old, topology).is_alive():
                    raise Conflict(
                        f"lab {old.name} is up already", remedy="'carrick lab down' takes it down."
                    )
                say(f"clearing away what is left of a lab that was {old.phase}")
                self._take_down(old)
            _claim(state_dir)
            cgroup = f"carrick-lab-{name}-{secrets.token_hex(3)}"
            record = Record(name, cgroup, state_dir, spec)
            self._directory.write(record)
            try:
                self._build(record, topology, contents, tied=tied, say=say)
            except BaseException:
                current = self._directory.read()
                self._take_down(current or record)
                raise
            record = self._current()
            self._directory.write(replace(record, phase=Phase.UP))
            return self._current()

    def down(self) -> bool:
        """End the lab and remove every trace of it; say whether there was one. Repeatable."""
        check_root()
        with self._directory.locked():
            record = self._directory.read()
            if record is None:
                return False
            self._take_down(record)
            return True

    def _build(self, record: Record, topology: Topology, contents: Contents, *, tied: bool, say: Say) -> None:
        for node in topology.nodes:
            prepare_files(record, node)

        def write_down(node: Node) -> Callable[[Process], None]:
            return lambda process: self._write_process(node.name, process)

        router = topology.router
        self._holder = boot(record, router, topology, write_down(router), tied=tied)
        record = self._current()
        process = record.processes[router.name]
        underlay.build_router(process, topology, record.spec.mtu)
        faults.apply_table(process, topology, record.faults)
        say(f"router  {', '.join(f'{item.ipv4} {item.ipv6}' for item in topology.segments)}")

        def start(node: Node) -> None:
            boot(record, node, topology, write_down(node))
            own = self._current().processes[node.name]
            underlay.plug_in(process, node, own, record.spec.mtu)
            _start_service(record, topology, node, own)

        def finish(node: Node) -> None:
            current = self._current()
            _wait_service(current, topology, node)
            if node.kind is Kind.HOST:
                contents.give(current.processes[node.name])

        _each(topology.members, start)
        width = max(len(node.name) for node in topology.nodes)
        for node in _each_in_turn(topology.members, finish):
            what = "etcd" if node.kind is Kind.ETCD else "carrickd"
            say(f"{node.name:{width}}  {node.ipv4.ip} {node.ipv6.ip}  {what} is ready")

    def _take_down(self, record: Record) -> None:
        """End and remove everything. Goes on from wherever an earlier attempt has stopped."""
        self._directory.write(replace(record, phase=Phase.FALLING))
        # Everybody is a descendant of the router's first process, and goes with it.
        topology = plan_lab(record.spec)
        if (process := record.processes.get(topology.router.name)) is not None:
            process.kill()
        if self._holder is not None:
            self._holder.wait()
            self._holder = None
        left = [str(path) for path in remove_cgroups(record.cgroup)]
        for place in [path for path in (record.state_dir,) if (path / MARKER).exists()]:
            shutil.rmtree(place, ignore_errors=True)
            if place.exists():
                left.append(str(place))
            remove_directory(place)
        if left:
            raise Failed(
                f"lab {record.name} has ended, but this could not be removed: {', '.join(left)}",
                remedy="'carrick lab down' tries again.",
            )
        self._directory.forget()

    def _current(self) -> Record:
        record = self._directory.read()
        assert record is not None, "the lock is ours, and we have written it"
        return record

    def _write_process(self, name: str, process: Process | None) -> None:
        # Hosts are started side by side.
        with self._writing:
            self._directory.write(self._current().with_process(name, process))

    @staticmethod
    def _router_of(record: Record, topology: Topology) -> Process:
        return record.processes.get(topology.router.name, Process(0, -1))

    # Nodes -----------------------------------------------------------------------------------

    def stop(self, *names: str, daemon_only: bool = False) -> None:
        """Switch nodes off in good order; with `daemon_only` end their programs, and nothing else.

        Repeatable.
        """
        self._end(names, signal.SIGTERM, daemon_only=daemon_only)

    def kill(self, *names: str, daemon_only: bool = False) -> None:
        """As `stop`, without asking anybody: a power cut. Repeatable."""
        self._end(names, signal.SIGKILL, daemon_only=daemon_only)

    def start(self, *names: str) -> None:
        """Switch nodes on, or start their programs again; return when those answer. Repeatable."""
        with self._changing() as (_, topology):
            nodes = [topology.member(name) for name in names]
            for node in nodes:
                self._start(self._current(), topology, node)
        record = self.record()
        # All are started before one is waited for: an etcd alone of three can't serve.
        for node in nodes:
            _wait_service(record, topology, node)

    def _start(self, record: Record, topology: Topology, node: Node) -> None:
        process = record.processes.get(node.name)
        if process is not None and process.is_alive():
            if not _service_pid(node, process):
                _start_service(record, topology, node, process)
            return
        router = _running(record, topology.router)
        # After a power cut nothing has been tidied up.
        remove_cgroups(cgroup_of(record, node.name))
        boot(record, node, topology, lambda process: self._write_process(node.name, process))
        process = self._current().processes[node.name]
        try:
            underlay.plug_in(router, node, process, record.spec.mtu)
            if rate := record.faults.rates.get(node.name):
                faults.apply_rates(router, [(node.name, rate)])
            _start_service(record, topology, node, process)
        except BaseException:
            process.kill()
            raise

    def _end(self, names: Sequence[str], with_signal: signal.Signals, *, daemon_only: bool) -> None:
        with self._changing() as (record, topology):
            for node in [topology.member(name) for name in names]:
                process = record.processes.get(node.name)
                if process is None:
                    continue
                if process.is_alive() and (daemon_only or with_signal is signal.SIGTERM):
                    (etcd if node.kind is Kind.ETCD else daemons).end(process, with_signal)
                if daemon_only:
                    continue
                process.kill()
                underlay.pull_out(_running(record, topology.router), node)
                remove_cgroups(cgroup_of(record, node.name))
                self._write_process(node.name, None)

    # Faults ----------------------------------------------------------------------------------

    def cut(self, first: str, second: str = "", *, one_way: bool = False) -> None:
        """Let nothing through between two nodes, or between one and everybody. Repeatable.

        `one_way`: only what the first sends is lost.
        """
        with self._changing() as (record, topology):
            found = faults.pairs(topology, first, second, one_way=one_way)
            self._break(record, topology, replace(record.faults, cuts=record.faults.cuts | found))

    def heal(self, first: str = "", second: str = "") -> None:
        """Take back the cuts between two nodes, of one, or all. Repeatable."""
        with self._changing() as (record, topology):
            gone = faults.pairs(topology, first, second) if first else record.faults.cuts
            self._break(record, topology, replace(record.faults, cuts=record.faults.cuts - gone))

    def loss(self, share: str) -> None:
        """Lose a share of all packets between nodes, as `3%`; `0%` is none."""
        value = faults.parse_loss(share)
        with self._changing() as (record, topology):
            self._break(record, topology, replace(record.faults, loss=value))

    def rate(self, rate: str, names: Sequence[str] = ()) -> None:
        """Hold what goes to some nodes, or to all, to a rate as `10mbit`; `off` lets it go."""
        value = faults.parse_rate(rate)
        with self._changing() as (record, topology):
            router = _running(record, topology.router)
            nodes = [topology.member(name) for name in names] or list(topology.members)
            rates = dict(record.faults.rates)
            changed = []
            for node in nodes:
                if rates.get(node.name, "") == value:
                    continue
                if underlay.has_port(router, node):
                    changed.append((node.name, value))
                rates[node.name] = value
            faults.apply_rates(router, changed)
            kept = {name: value for name, value in rates.items() if value}
            self._directory.write(replace(record, faults=replace(record.faults, rates=kept)))

    def _break(self, record: Record, topology: Topology, wanted: Faults) -> None:
        faults.apply_table(_running(record, topology.router), topology, wanted)
        self._directory.write(replace(record, faults=wanted))

    # etcd ------------------------------------------------------------------------------------

    def compact_etcd(self) -> int:
        """Let etcd forget every revision but the last; return that one."""
        record = self.record()
        for node in _etcd_of(plan_lab(record.spec)):
            process = record.processes.get(node.name)
            if process is not None and etcd.is_healthy(process):
                return etcd.compact(process)
        raise Unavailable("no etcd answers", remedy="'carrick lab status' shows them.")

    def move_etcd_leader(self) -> tuple[str, str]:
        """Let another member of etcd's cluster lead; return the old leader and the new one."""
        record = self.record()
        nodes = _etcd_of(plan_lab(record.spec))
        if len(nodes) < 2:
            raise InvalidRequest(
                "an etcd alone can't hand over its lead", remedy="'carrick lab up --etcd 3' makes three."
            )
        for node in nodes:
            process = record.processes.get(node.name)
            if process is not None and etcd.is_leader(process):
                return node.name, etcd.move_leader(process, node.name)
        raise Unavailable("etcd has no leader now", remedy="'carrick lab status' shows who runs.")

    @contextmanager
    def _changing(self) -> Iterator[tuple[Record, Topology]]:
        check_root()
        self.record()  # says so if there is none, without making a directory for the lock
        with self._directory.locked():
            record = self.record()
            yield record, plan_lab(record.spec)


def _claim(state_dir: Path) -> None:
    """Make the state directory ours and empty. Raises Conflict if it has what is not a lab's."""
    if state_dir.exists() and any(state_dir.iterdir()):
        if not (state_dir / MARKER).exists():
            raise Conflict(
                f"{state_dir} is not empty, and not a lab's", remedy="Name another one with --state-dir."
            )
        # Of before the machine's last start: nobody has a record of it any more.
        shutil.rmtree(state_dir)
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    (state_dir / MARKER).touch()


def _running(record: Record, node: Node) -> Process:
    process = record.processes.get(node.name)
    if process is not None and process.is_alive():
        return process
    if node.kind is Kind.ROUTER:
        raise Unavailable(
            f"lab {record.name} has ended, with the machine or by someone's hand",
            remedy="'carrick lab up' begins anew.",
        )
    raise Unavailable(f"{node.name} is off", remedy=f"'carrick lab start {node.name}' switches it on.")


def _etcd_of(topology: Topology) -> tuple[Node, ...]:
    if not topology.etcd:
        raise NotFound("this lab has no etcd", remedy="'carrick lab up --etcd 1' makes one.")
    return topology.etcd


def _service_pid(node: Node, process: Process) -> int:
    return etcd.pid_of(process) if node.kind is Kind.ETCD else daemons.daemon_pid(process)


def _start_service(record: Record, topology: Topology, node: Node, process: Process) -> None:
    files = files_of(record, node.name)
    if node.kind is Kind.ETCD:
        etcd.start(process, node, topology, files)
    else:
        daemons.configure(files, record, cgroup_of(record, node.name))
        daemons.start(process, files)


def _wait_service(record: Record, topology: Topology, node: Node) -> None:
    process = _running(record, node)
    if node.kind is Kind.ETCD:
        others = [record.processes.get(item.name) for item in topology.etcd]
        running = sum(item is not None and etcd.pid_of(item) > 0 for item in others)
        # Without a majority none of them can serve, however well it is.
        etcd.wait_ready(node, process, as_one_of_many=running * 2 <= len(others))
    else:
        daemons.wait_ready(node.name, process, files_of(record, node.name))


def _each(nodes: Sequence[Node], work: Callable[[Node], None]) -> None:
    """Do the work for all nodes, some at a time; raise the first error when all have ended."""
    for _ in _each_in_turn(nodes, work):
        pass


def _each_in_turn(nodes: Sequence[Node], work: Callable[[Node], None]) -> Iterator[Node]:
    """As `_each`, yielding the nodes in their order as they are done."""
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="lab") as pool:
        futures = [pool.submit(work, node) for node in nodes]
        try:
            for node, future in zip(nodes, futures, strict=True):
                future.result()
                yield node
        finally:
            for future in futures:
                future.cancel()
