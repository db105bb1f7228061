"""How far a pull, a push or a load is: a live display on a terminal, plain lines elsewhere.

Both read the daemon's stream of JSON messages: `status` with or without a layer's `id`, progress,
`stream` for text as it stands, `errorDetail` for the end of it all.
"""

from __future__ import annotations

from carrick.doors.cli.app import App, is_terminal
from carrick.model.errors import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TextIO


def message_error(message: Mapping[str, Any]) -> str:
    """Return the error that a message tells of, or nothing."""
    detail = message.get("errorDetail") or {}
    return str(detail.get("message") or message.get("error") or "")


def has_progress(message: Mapping[str, Any]) -> bool:
    """Say whether a message is one of many about the same bytes."""
    detail = message.get("progressDetail") or {}
    return bool(detail.get("current") or detail.get("total"))


def plain_line(message: Mapping[str, Any]) -> str:
    """Return the line that a message is worth where lines stay; empty for mere progress."""
    if text := message.get("stream"):
        return str(text).rstrip("\n")
    if has_progress(message):
        return ""
    status = str(message.get("status") or "")
    layer = str(message.get("id") or "")
    return f"{layer}: {status}" if layer and status else status


def show_progress(
    app: App, messages: Iterable[Mapping[str, Any]], stream: TextIO, *, quiet: bool = False
) -> None:
    """Print a stream of messages until it ends. Raises Failed for an error in it."""
    if quiet:
        for message in messages:
            _check(message)
    elif is_terminal(stream) and app.environ.get("TERM") != "dumb":
        _show_live(app, messages, stream)
    else:
        for message in messages:
            _check(message)
            if line := plain_line(message):
                stream.write(line + "\n")
                stream.flush()


def _check(message: Mapping[str, Any]) -> None:
    if error := message_error(message):
        raise Failed(error)


def _show_live(app: App, messages: Iterable[Mapping[str, Any]], stream: TextIO) -> None:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TransferSpeedColumn,
    )

    console = Console(file=stream, no_color=not app.colours(stream), highlight=False)
    columns = (
        TextColumn("{task.fields[layer]}", markup=False),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:
        for message in messages:
            _check(message)
            layer, status = str(message.get("id") or ""), str(message.get("status") or "")
            if not layer or "stream" in message or status.startswith("Pulling from"):
                if line := plain_line(message):
                    progress.console.print(line, markup=False, soft_wrap=True)
                continue
            if layer not in tasks:
                tasks[layer] = progress.add_task(status, total=None, layer=layer)
            detail = message.get("progressDetail") or {}
            total = detail.get("total") or None
            task = tasks[layer]
            if has_progress(message):
                progress.update(task, description=status, completed=detail.get("current") or 0, total=total)
            else:
                done = status.endswith(("complete", "exists")) or status == "Pushed"
                progress.update(task, description=status)
                if done and (known := progress.tasks[task].total) is not None:
                    progress.update(task, completed=known)
