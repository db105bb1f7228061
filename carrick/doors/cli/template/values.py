"""Values a template sees: what they are called, when they are true, how they print, as Go has it.

JSON's values stand for Go's maps, slices, strings, numbers, booleans and nil. A `Record` stands
for one of Docker's formatting contexts: its fields are computed when they are asked for.
"""

from __future__ import annotations

from carrick.doors.client import jsontext
from carrick.model.errors import CarrickError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar

_MAX_WIDTH = 10_000
_VERB = r"%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d*))?(.)?"


class TemplateError(CarrickError):
    """A template that cannot be parsed or evaluated."""


class Method:
    """A field that takes arguments: `{{.Label "key"}}`."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[[str], Any]) -> None:
        self.name = name
        self.call = call


class Record:
    """Named fields computed on demand, and their headers. `TYPE` is what messages call it."""

    TYPE = "record"
    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    HEADERS: ClassVar[Mapping[str, str]] = {}

    def field(self, name: str) -> Any:
        """Return a field's value or Method. Raises KeyError."""
        return type(self).FIELDS[name](self)

    def to_json(self) -> dict[str, Any]:
        """Return every plain field, by name."""
        values = {name: compute(self) for name, compute in sorted(type(self).FIELDS.items())}
        return {name: value for name, value in values.items() if not isinstance(value, Method)}


def to_json(value: Any) -> str:
    """Return `value` as Docker prints JSON: on one line, a Record as its fields."""
    import json

    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise TemplateError(f"json: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    raise TypeError(f"unsupported type: {type_name(value)}")


def type_name(value: Any) -> str:
    """Return what Go would call the value's type."""
    if isinstance(value, Record):
        return value.TYPE
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, dict):
        return "map[string]interface {}"
    return "[]interface {}" if isinstance(value, list | tuple) else "func"


def is_true(value: Any) -> bool:
    """Say whether `if` takes its first branch: Go's non-zero, non-empty."""
    return True if isinstance(value, Record | Method) else bool(value)


def show(value: Any, *, nested: bool = False) -> str:
    """Return how `%v` prints a value; nil at the top is `<no value>`, as in a template."""
    if value is None:
        return "<nil>" if nested else "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _show_float(value)
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        inside = " ".join(f"{key}:{show(item, nested=True)}" for key, item in items)
        return f"map[{inside}]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item, nested=True) for item in value) + "]"
    if isinstance(value, Record):
        return show(value.to_json(), nested=nested)
    return "<func>"


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python is willing to print
        raise TemplateError("integer is too large to print") from None


def _show_float(value: float) -> str:
    import re
    from math import isfinite

    if not isfinite(value):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", text)


def format_values(layout: str, values: Sequence[Any]) -> str:
    """Return `printf`, with Go's verbs and Go's way of marking what does not fit."""
    import re

    queue = list(values)

    def number() -> int:
        value = queue.pop(0) if queue else 0
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def replace(match: re.Match[str]) -> str:
        flags, width_text, precision_text, verb = match.groups()
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        width = number() if width_text == "*" else int((width_text or "0")[:9])
        precision = -1
        if precision_text is not None:
            precision = number() if precision_text == "*" else int((precision_text or "0")[:9])
        if width > _MAX_WIDTH or precision > _MAX_WIDTH:
            return "%!(BADWIDTH)"
        if not queue:
            return f"%!{verb}(MISSING)"
        value = queue.pop(0)
        text = _verb(verb, value, flags, precision)
        if text is None:
            return f"%!{verb}({type_name(value)}={show(value, nested=True)})"
        if "-" in flags:
            return text.ljust(width)
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return text.zfill(width) if "0" in flags and numeric else text.rjust(width)

    text = re.sub(_VERB, replace, layout, flags=re.DOTALL)
    if queue:
        extra = ", ".join(f"{type_name(value)}={show(value, nested=True)}" for value in queue)
        text += f"%!(EXTRA {extra})"
    return text


def _verb(verb: str, value: Any, flags: str, precision: int) -> str | None:
    """Return the value under `verb`, or None where they do not go together."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    plus = "+" if "+" in flags else ""
    if verb in "vs":
        text = show(value, nested=True)
        if verb == "s" and not isinstance(value, str | list | tuple | dict | Record):
            return None
        return text[:precision] if precision >= 0 and verb == "s" else text
    if verb == "q" and isinstance(value, str):
        return jsontext.quote_text(value)
    if verb == "q" and whole and 0 <= value <= 0x10FFFF:
        return f"'{chr(value)}'"
    if verb == "t" and isinstance(value, bool):
        return show(value)
    if verb == "T":
        return type_name(value)
    if verb in "xX" and isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape").hex()
        return text if verb == "x" else text.upper()
    if verb == "c" and whole and 0 <= value <= 0x10FFFF:
        return chr(value)
    if verb == "U" and whole:
        return f"U+{value:04X}"
    if whole and verb in "dxXob":
        return f"{value:{plus}{'#' if '#' in flags else ''}{verb}}"
    if isinstance(value, float) and verb in "gG" and precision < 0:
        return _show_float(value)
    if isinstance(value, float) and verb in "feEgG":
        return f"{value:{plus}.{6 if precision < 0 else precision}{verb}}"
    return None
