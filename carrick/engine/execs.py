"""Execs: further processes in running containers. Kept in memory, as in Docker; they end with the daemon's
record of them, while the processes themselves are conmon's."""

from dataclasses import dataclass

from ..host.runtime.api import CannotStart, ConsoleSize, ExecRequest, ExecSession, Runtime
from ..model.containers import ContainerStatus
from ..model.errors import CarrickError, Conflict, InvalidRequest, NotFound
from ..model.ids import ContainerId
from .clock import new_id
from .events import EventBus, emit_container
from .state import State
from .tasks import TaskOwner
from .values import ExecConfig, ExecView

_KEPT_AFTER_END = 256


@dataclass(slots=True)
class _Exec:
    view: ExecView
    session: ExecSession | None = None


class ExecService:
    def __init__(self, state: State, runtime: Runtime, events: EventBus, tasks: TaskOwner) -> None:
        self._state = state
        self._runtime = runtime
        self._events = events
        self._tasks = tasks
        self._execs: dict[str, _Exec] = {}

    def _find(self, exec_id: str) -> _Exec:
        try:
            return self._execs[exec_id]
        except KeyError:
            raise NotFound(f"No such exec instance: {exec_id}") from None

    def get(self, exec_id: str) -> ExecView:
        return self._find(exec_id).view

    def of(self, container_id: ContainerId) -> tuple[str, ...]:
        """Return the execs of a container that have not ended."""
        return tuple(
            key
            for key, item in self._execs.items()
            if item.view.container_id == container_id and item.view.exit_code is None
        )

    def forget(self, container_id: ContainerId) -> None:
        for key in [k for k, item in self._execs.items() if item.view.container_id == container_id]:
            del self._execs[key]

    async def create(self, reference: str, config: ExecConfig, *, exec_id: str = "") -> str:
        """Note an exec to be; without `exec_id` it gets one of its own."""
        record = self._state.find_container(reference)
        if not config.args:
            raise InvalidRequest("No exec command specified")
        if record.state.status is ContainerStatus.PAUSED:
            raise Conflict(f"container {record.name} is paused, unpause the container before exec")
        if not record.state.is_running:
            raise Conflict(f"container {record.id} is not running")
        exec_id = exec_id or new_id()
        self._execs[exec_id] = _Exec(ExecView(exec_id, record.id, config))
        self._forget_oldest()
        emit_container(self._events, record, f"exec_create: {_words(config)}", execID=exec_id)
        return exec_id

    def drop(self, exec_id: str) -> None:
        """Forget one exec, which nobody will ask for. Repeatable."""
        self._execs.pop(exec_id, None)

    def _forget_oldest(self) -> None:
        """Ended execs are kept for `inspect`, but not for ever."""
        ended = [key for key, item in self._execs.items() if item.view.exit_code is not None]
        for key in ended[:-_KEPT_AFTER_END]:
            del self._execs[key]

    async def start(self, exec_id: str, *, size: ConsoleSize | None = None) -> ExecSession:
        item = self._find(exec_id)
        if item.view.is_running or item.view.exit_code is not None:
            raise Conflict(
                f"Error: Exec command {exec_id} has already run"
                if not item.view.is_running
                else f"Error: Exec command {exec_id} is already running"
            )
        record = self._state.find_container(item.view.container_id)
        config = item.view.config
        request = ExecRequest(
            exec_id=exec_id,
            container_id=record.id,
            args=config.args,
            tty=config.tty,
            stdin=config.attach_stdin,
            user=config.user,
            working_dir=config.working_dir,
            env=config.env,
            privileged=config.privileged,
            console_size=size,
        )
        # Told before it is tried, as in Docker: what cannot start has this event, and no exec_die.
        emit_container(self._events, record, f"exec_start: {_words(config)}", execID=exec_id)
        try:
            session = await self._runtime.exec(request)
        except CannotStart as error:
            item.view = _with(item.view, is_running=False, exit_code=error.exit_code)
            raise
        except CarrickError:
            item.view = _with(item.view, is_running=False, exit_code=126)
            raise
        item.session = session
        item.view = _with(item.view, is_running=True, pid=session.pid)
        self._tasks.start(self._watch(item, session), f"exec {exec_id[:12]}")
        return session

    async def _watch(self, item: _Exec, session: ExecSession) -> None:
        code = await session.wait()
        item.view = _with(item.view, is_running=False, exit_code=code)
        item.session = None
        record = self._state.containers.get(item.view.container_id)
        if record is not None:
            emit_container(self._events, record, "exec_die", execID=item.view.id, exitCode=str(code))

    async def start_detached(self, exec_id: str) -> None:
        session = await self.start(exec_id)
        await session.close()

    async def resize(self, exec_id: str, size: ConsoleSize) -> None:
        item = self._find(exec_id)
        if item.session is None:
            raise Conflict(f"exec {exec_id} is not running")
        await item.session.resize(size)


def _words(config: ExecConfig) -> str:
    """Return the command as events show it: with a blank after the program, also if nothing follows."""
    return f"{config.args[0]} {' '.join(config.args[1:])}"


def _with(
    view: ExecView, *, is_running: bool, exit_code: int | None = None, pid: int | None = None
) -> ExecView:
    return ExecView(
        view.id, view.container_id, view.config, is_running, exit_code, view.pid if pid is None else pid
    )
