"""`carrick stats`: once, or again and again until interrupted."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from carrick.doors.cli.app import App, is_terminal
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.flags import Flag, Values
from carrick.doors.cli.listing import FORMAT, NO_TRUNC, show_records
from carrick.doors.cli.paths import container_path
from carrick.doors.cli.records.usage import UsageRecord
from carrick.model.errors import CarrickError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_REFRESH_S = 0.5
_AT_ONCE = 32


def _stats(app: App, values: Values, words: list[str]) -> None:
    if values.on("no-stream"):
        _once(app, values, words)
    else:
        _live(app, values, words)


def _wanted(app: App, values: Values, words: list[str]) -> list[str]:
    if words:
        return words
    entries = app.client.get("/containers/json", {"all": values.on("all")})
    return [str(entry["Id"]) for entry in entries]


def _show(app: App, values: Values, samples: Mapping[str, Mapping[str, Any] | None]) -> None:
    truncate = not values.on("no-trunc")
    records = [
        UsageRecord(name[:12] if len(name) == 64 and truncate else name, sample, truncate=truncate)
        for name, sample in samples.items()
    ]
    show_records(app, UsageRecord, records, values.text("format"), columns=_COLUMNS)


def _once(app: App, values: Values, words: list[str]) -> None:
    names = _wanted(app, values, words)

    def sample(name: str) -> Any:
        # Two samples a second apart, taken by the daemon: a CPU's share needs both.
        return app.client.get(f"{container_path(name)}/stats", {"stream": "false"})

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = {name: pool.submit(sample, name) for name in names}
        samples: dict[str, Mapping[str, Any] | None] = {}
        for name, future in futures.items():
            try:
                samples[name] = future.result()
            except NotFound:
                if words:
                    raise  # asked for by name; a container that just ended is no error
    _show(app, values, samples)


class _Watcher:
    """Reads one container's stream of samples in a thread of its own, until it ends."""

    def __init__(self, app: App, name: str) -> None:
        self.sample: Mapping[str, Any] | None = None
        self.error: CarrickError | None = None
        self.ended = False
        self._app = app
        self._name = name
        # A daemon thread: it blocks in a read that only the end of this process ends.
        threading.Thread(target=self._run, name=f"stats {name}", daemon=True).start()

    def _run(self) -> None:
        path = f"{container_path(self._name)}/stats"
        try:
            with self._app.client.request("GET", path, query={"stream": "true"}) as response:
                for document in response.documents():
                    self.sample = document
        except CarrickError as error:
            self.error = error
        except OSError:
            pass
        self.ended = True


def _live(app: App, values: Values, words: list[str]) -> None:
    watchers: dict[str, _Watcher] = {}
    ended: set[str] = set()
    screen = is_terminal(app.out)
    while True:
        for name in _wanted(app, values, words):
            if name not in watchers and name not in ended:
                watchers[name] = _Watcher(app, name)
        time.sleep(_REFRESH_S)
        for name in [name for name, watcher in watchers.items() if watcher.ended]:
            gone = watchers.pop(name)
            if not words:
                continue  # it is watched again should it be running again
            if gone.error is not None:
                raise gone.error
            ended.add(name)
        if words and not watchers:
            return
        if screen:
            app.out.write("\x1b[H\x1b[2J")
        _show(app, values, {name: watcher.sample for name, watcher in watchers.items()})


STATS = Command(
    "stats",
    _stats,
    summary="Display a live stream of container(s) resource usage statistics",
    usage="[OPTIONS] [CONTAINER...]",
    arity=Arity(0, None, "container"),
    flags=(
        Flag("all", "Show all containers (default shows just running)", short="a"),
        FORMAT,
        Flag("no-stream", "Disable streaming stats and only pull the first result"),
        NO_TRUNC,
    ),
    examples=("carrick stats", "carrick stats --no-stream --format json web"),
)
