"""Print records as `--format` says: a table, JSON, or a template; as Docker's list commands do."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import STRING, Flag
from carrick.doors.cli.tables import align, table
from carrick.doors.cli.template.values import Method, Record, TemplateError, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

FORMAT = Flag(
    "format",
    "Format the output: 'table', 'table TEMPLATE', 'json', or a Go template such as '{{.ID}}'",
    kind=STRING,
)
NO_TRUNC = Flag("no-trunc", "Do not truncate the output")


class Headers(Record):
    """The line of headers, as the record that a table's template is filled in with."""

    TYPE = "headers"

    def __init__(self, kind: type[Record]) -> None:
        self._kind = kind

    def field(self, name: str) -> Any:
        """Return a field's header; for one that takes an argument, the argument's last part."""
        if name not in self._kind.FIELDS:
            raise KeyError(name)
        if name == "Label":
            return Method("Label", label_header)
        return self._kind.HEADERS.get(name, name.upper())


def label_header(key: str) -> str:
    """Return the header of a label's column: `com.example.cpu-share` → `cpu share`."""
    return key.rsplit(".", maxsplit=1)[-1].replace("-", " ").replace("_", " ")


def show_records(
    app: App,
    kind: type[Record],
    records: Iterable[Record],
    layout: str,
    *,
    columns: Sequence[str],
    quiet: str = "",
) -> None:
    """Print `records`. `columns` are the default table's; `quiet` names the only field to print."""
    layout = layout.strip()
    if quiet and layout in ("", "table"):
        for record in records:
            app.print(str(record.field(quiet)))
    elif layout in ("", "table"):
        rows = [[kind.HEADERS.get(name, name.upper()) for name in columns]]
        rows += [[str(record.field(name)) for name in columns] for record in records]
        app.out.write(table(rows))
    elif layout == "json":
        for record in records:
            app.print(to_json(record))
    else:
        _show_template(app, kind, records, layout)
    app.out.flush()


def _show_template(app: App, kind: type[Record], records: Iterable[Record], layout: str) -> None:
    from carrick.doors.cli.template.evaluator import parse
    from carrick.doors.cli.template.functions import HEADER_FUNCTIONS

    is_table = layout.startswith(("table ", "table\t"))
    source = layout[5:].strip() if is_table else layout
    try:
        template = parse(unescape(source))
    except TemplateError as error:
        raise CliError(f"template parsing error: {error.message}") from None
    try:
        lines = [template.render(record) for record in records]
        if is_table:
            lines.insert(0, template.render(Headers(kind), HEADER_FUNCTIONS))
    except TemplateError as error:
        raise CliError(f"failed to execute template: {error.message}") from None
    text = "".join(line + "\n" for line in lines)
    app.out.write(align(text) if is_table else text)


def unescape(source: str) -> str:
    """Turn the two-character forms of tab and newline, which shells leave alone, into the real."""
    return source.replace("\\t", "\t").replace("\\n", "\n")


def show_value(app: App, value: Any, layout: str) -> None:
    """Print one object (`info`, `version`) as JSON or through a template."""
    if layout == "json":
        app.print(to_json(value))
        return
    from carrick.doors.cli.template.evaluator import parse

    try:
        app.print(parse(unescape(layout)).render(value))
    except TemplateError as error:
        raise CliError(f"template parsing error: {error.message}", 64) from None
