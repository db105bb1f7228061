"""`carrick events`."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import NONE, Command
from carrick.doors.cli.commands.looking import since
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import FILTER, STRING, Flag, Values
from carrick.doors.cli.listing import unescape
from carrick.doors.cli.template.values import TemplateError, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def event_line(event: Mapping[str, Any]) -> str:
    """Return an event as a line: time, type, action, object, attributes."""
    from datetime import UTC, datetime

    parts = []
    if nanoseconds := event.get("timeNano"):
        moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC).astimezone()
        zone = moment.strftime("%z")
        zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
        parts.append(f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9:09d}{zone}")
    actor = event.get("Actor") or {}
    parts += [str(event.get("Type") or ""), str(event.get("Action") or "")]
    parts.append(str(actor.get("ID") or ""))
    line = " ".join(parts)
    if attributes := actor.get("Attributes"):
        line += " (" + ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes)) + ")"
    return line


def _events(app: App, values: Values, words: list[str]) -> None:
    layout = values.text("format")
    query = {
        "since": since(values.text("since"), "since"),
        "until": since(values.text("until"), "until"),
        "filters": values.filters() or None,
    }
    render: Callable[[Any], str] = event_line
    if layout == "json":
        render = to_json
    elif layout:
        from carrick.doors.cli.template.evaluator import parse

        try:
            render = parse(unescape(layout)).render
        except TemplateError as error:
            raise CliError(f"Error parsing format: template parsing error: {error.message}", 64) from None
    with app.client.request("GET", "/events", query=query) as response:
        for event in response.documents():
            app.print(render(event))
            app.out.flush()


EVENTS = Command(
    "events",
    _events,
    summary="Get real time events from the daemon",
    usage="[OPTIONS]",
    arity=NONE,
    flags=(
        Flag("filter", "Filter by type, event, container, image, network …", kind=FILTER, short="f"),
        Flag("format", "Format the output: 'json', or a Go template", kind=STRING),
        Flag("since", "Show all events created since a time or a while ago", kind=STRING),
        Flag("until", "Stream events until this time", kind=STRING),
    ),
    examples=("carrick events --filter type=network", "carrick events --since 10m --until 0s"),
)
