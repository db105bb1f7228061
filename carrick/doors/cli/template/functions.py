"""The functions a template may call: Go's own and Docker's."""

from collections.abc import Callable
from typing import Any

from carrick.doors.cli.template.values import (
    TemplateError,
    format_values,
    is_true,
    show,
    to_json,
    type_name,
)

_MAX_TEXT = 1_000_000


def _text(value: Any, function: str) -> str:
    if isinstance(value, str):
        return value
    raise TemplateError(f"error calling {function}: wrong type: {type_name(value)}, not string")


def _whole(value: Any, function: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TemplateError(f"error calling {function}: wrong type: {type_name(value)}, not int")


def _count(arguments: tuple[Any, ...], function: str, low: int, high: int | None) -> None:
    got = len(arguments)
    if got < low or (high is not None and got > high):
        want = f"at least {low}" if high is None else str(low)
        raise TemplateError(f"wrong number of args for {function}: want {want} got {got}")


def _index(*arguments: Any) -> Any:
    _count(arguments, "index", 1, None)
    value = arguments[0]
    for key in arguments[1:]:
        value = _index_once(value, key)
    return value


def _index_once(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        return value.get(key) if isinstance(key, str) else _no_key(key)
    if isinstance(value, list | tuple | str):
        position = _whole(key, "index")
        if not 0 <= position < len(value):
            raise TemplateError(f"error calling index: index out of range: {position}")
        item = value[position]
        return ord(item) if isinstance(value, str) else item
    if value is None:
        raise TemplateError("error calling index: index of untyped nil")
    raise TemplateError(f"error calling index: can't index item of type {type_name(value)}")


def _no_key(key: Any) -> Any:
    raise TemplateError(f"error calling index: value has type {type_name(key)}; should be string")


def _slice(*arguments: Any) -> Any:
    _count(arguments, "slice", 1, 4)
    value = arguments[0]
    if not isinstance(value, list | tuple | str):
        raise TemplateError(f"error calling slice: can't slice item of type {type_name(value)}")
    bounds = [_whole(bound, "slice") for bound in arguments[1:]]
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= low <= high <= len(value):
        raise TemplateError(f"error calling slice: index out of range: {high}")
    return value[low:high]


def _len(*arguments: Any) -> int:
    _count(arguments, "len", 1, 1)
    value = arguments[0]
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list | tuple | dict):
        return len(value)
    raise TemplateError(f"error calling len: len of type {type_name(value)}")


def _not(*arguments: Any) -> bool:
    _count(arguments, "not", 1, 1)
    return not is_true(arguments[0])


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool | str):
        return type_name(value)
    if isinstance(value, int | float):
        return "number"
    return ""


def _same(left: Any, right: Any, function: str) -> bool:
    if left is None or right is None:
        return left is right
    if not _kind(left) or not _kind(right):
        raise TemplateError(f"error calling {function}: non-comparable type")
    if _kind(left) != _kind(right):
        raise TemplateError(f"error calling {function}: incompatible types for comparison")
    return bool(left == right)


def _eq(*arguments: Any) -> bool:
    _count(arguments, "eq", 2, None)
    return any(_same(arguments[0], other, "eq") for other in arguments[1:])


def _ne(*arguments: Any) -> bool:
    _count(arguments, "ne", 2, 2)
    return not _same(arguments[0], arguments[1], "ne")


def _ordered(name: str, holds: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(*arguments: Any) -> bool:
        _count(arguments, name, 2, 2)
        left, right = arguments
        if _kind(left) != _kind(right) or _kind(left) not in ("string", "number"):
            raise TemplateError(f"error calling {name}: incompatible types for comparison")
        return holds(left, right)

    return compare


def _print(*arguments: Any) -> str:
    # Sprint puts a space between two operands when neither is a string.
    parts: list[str] = []
    for position, value in enumerate(arguments):
        if position and not isinstance(value, str) and not isinstance(arguments[position - 1], str):
            parts.append(" ")
        parts.append(show(value, nested=True))
    return "".join(parts)


def _println(*arguments: Any) -> str:
    return " ".join(show(value, nested=True) for value in arguments) + "\n"


def _printf(*arguments: Any) -> str:
    _count(arguments, "printf", 1, None)
    return format_values(_text(arguments[0], "printf"), arguments[1:])


def _json(*arguments: Any) -> str:
    _count(arguments, "json", 1, 1)
    return to_json(arguments[0])


def _join(*arguments: Any) -> str:
    _count(arguments, "join", 2, 2)
    parts, separator = arguments
    if parts is None:
        parts = []
    if not isinstance(parts, list | tuple):
        raise TemplateError(f"error calling join: wrong type: {type_name(parts)}, not a list")
    return _text(separator, "join").join(_text(part, "join") for part in parts)


def _split(*arguments: Any) -> list[str]:
    _count(arguments, "split", 2, 2)
    text, separator = (_text(argument, "split") for argument in arguments)
    return text.split(separator) if separator else list(text)


def _on_text(name: str, change: Callable[[str], str]) -> Callable[..., str]:
    def call(*arguments: Any) -> str:
        _count(arguments, name, 1, 1)
        return change(_text(arguments[0], name))

    return call


def _title(text: str) -> str:
    return "".join(
        character.upper() if not position or text[position - 1].isspace() else character
        for position, character in enumerate(text)
    )


def _pad(*arguments: Any) -> str:
    _count(arguments, "pad", 3, 3)
    text = _text(arguments[0], "pad")
    if not text:
        return text
    before, after = (_whole(argument, "pad") for argument in arguments[1:])
    if min(before, after) < 0 or before + after > _MAX_TEXT:
        raise TemplateError("error calling pad: count out of range")
    return " " * before + text + " " * after


def _truncate(*arguments: Any) -> str:
    _count(arguments, "truncate", 2, 2)
    text, size = _text(arguments[0], "truncate"), _whole(arguments[1], "truncate")
    if size < 0:
        raise TemplateError("error calling truncate: count out of range")
    return text[:size]


def _escape_html(*arguments: Any) -> str:
    from html import escape

    return escape(_print(*arguments), quote=True)


def _escape_query(*arguments: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*arguments), errors="surrogateescape")


# `and` and `or` are the evaluator's, because they do not evaluate what they need not.
LAZY = frozenset(("and", "or"))

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": _eq,
    "ge": _ordered("ge", lambda left, right: left >= right),
    "gt": _ordered("gt", lambda left, right: left > right),
    "html": _escape_html,
    "index": _index,
    "join": _join,
    "json": _json,
    "le": _ordered("le", lambda left, right: left <= right),
    "len": _len,
    "lower": _on_text("lower", str.lower),
    "lt": _ordered("lt", lambda left, right: left < right),
    "ne": _ne,
    "not": _not,
    "pad": _pad,
    "print": _print,
    "printf": _printf,
    "println": _println,
    "slice": _slice,
    "split": _split,
    "title": _on_text("title", _title),
    "truncate": _truncate,
    "upper": _on_text("upper", str.upper),
    "urlquery": _escape_query,
}
NAMES = frozenset(FUNCTIONS) | LAZY


def _first(*arguments: Any) -> Any:
    return arguments[0] if arguments else ""


# For the line of headers: what would shape a value leaves its header as it is.
_SHAPING = ("join", "json", "lower", "pad", "split", "title", "truncate", "upper")
HEADER_FUNCTIONS: dict[str, Callable[..., Any]] = {**FUNCTIONS, **dict.fromkeys(_SHAPING, _first)}
