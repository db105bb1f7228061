"""Read decoded JSON the way Go's encoding/json does, which Docker's clients rely on.

Names match in any case, null is the same as absent, unknown fields are ignored, and a wrong type is
an error that names the field. Bodies become typed values here; no dict goes further in.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import msgspec

from ....model.errors import InvalidRequest

T = TypeVar("T")

_INT64 = range(-(2**63), 2**63)
_LITERALS = ("null", "true", "false")
_GO_CONTEXTS = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair or array element",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
}
"""What Python's decoder expected, and how Go words that."""
_GO_KINDS: dict[type, str] = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}


class Fields:
    """One JSON object. `where` is its type's name, for messages."""

    __slots__ = ("_folded", "_values", "where")

    def __init__(self, values: dict[str, Any] | None = None, where: str = "") -> None:
        self._values = values or {}
        self._folded: dict[str, Any] | None = None
        self.where = where

    def _get(self, name: str) -> Any:
        value = self._values.get(name)
        if value is None and self._values:
            if self._folded is None:
                self._folded = {key.lower(): value for key, value in self._values.items()}
            value = self._folded.get(name.lower())
        return value

    def _wrong(self, name: str, value: object, wanted: str) -> NoReturn:
        raise wrong_type(value, f"{self.where}.{name}" if self.where else name, wanted)

    def has(self, name: str) -> bool:
        """Say whether the field is there and not null."""
        return self._get(name) is not None

    def names(self) -> Iterable[str]:
        """Return the fields' names as sent."""
        return self._values.keys()

    def raw(self, name: str) -> Any:
        """Return a value of whatever type, None if absent."""
        return self._get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self._wrong(name, value, "string")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.optional_flag(name)
        return default if value is None else value

    def optional_flag(self, name: str) -> bool | None:
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            self._wrong(name, value, "bool")
        return value

    def integer(self, name: str, default: int = 0) -> int:
        value = self.optional_integer(name)
        return default if value is None else value

    def optional_integer(self, name: str) -> int | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value not in _INT64:
            self._wrong(name, value, "int64")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        return self.optional_texts(name) or ()

    def optional_texts(self, name: str) -> tuple[str, ...] | None:
        value = self._get(name)
        if value is None:
            return None
        return self._all_texts(name, value)

    def command(self, name: str) -> tuple[str, ...] | None:
        """Return a list of words, of which Docker also takes a single one as a plain string."""
        value = self._get(name)
        if isinstance(value, str):
            return (value,)
        return self.optional_texts(name)

    def _all_texts(self, name: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            self._wrong(name, value, "[]string")
        for item in value:
            if not isinstance(item, str):
                self._wrong(name, item, "string")
        return tuple(value)

    def text_map(self, name: str) -> dict[str, str]:
        value = self._get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(name, value, "map[string]string")
        result = {}
        for key, item in value.items():
            if item is not None and not isinstance(item, str):
                self._wrong(name, item, "string")
            result[key] = item or ""
        return result

    def keys(self, name: str) -> tuple[str, ...]:
        """Return the keys of a set, which Docker writes as `{"80/tcp": {}}`."""
        value = self._get(name)
        if value is None:
            return ()
        if not isinstance(value, dict):
            self._wrong(name, value, "map[string]struct {}")
        return tuple(value)

    def given_empty(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return which of some fields are there and hold an empty list or object."""
        return tuple(name for name in names if self._get(name) in ([], {}))

    def child(self, name: str) -> "Fields":
        """Return the object in a field, an empty one if it is absent."""
        return self.optional_child(name) or Fields(where=name)

    def optional_child(self, name: str) -> "Fields | None":
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong(name, value, name)
        return Fields(value, name)

    def children(self, name: str) -> list["Fields"]:
        """Return the objects of a list."""
        value = self._get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(name, value, f"[]{name}")
        for item in value:
            if item is not None and not isinstance(item, dict):
                self._wrong(name, item, name)
        return [Fields(item, name) for item in value]

    def map_of(self, name: str, convert: Callable[[str, Any], T]) -> dict[str, T]:
        """Return an object's entries, in their order, each converted from its key and value."""
        value = self._get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong(name, value, f"map[string]{name}")
        return {key: convert(key, item) for key, item in value.items()}

    def child_map(self, name: str) -> dict[str, "Fields"]:
        """Return the objects in an object."""

        def convert(key: str, item: Any) -> Fields:
            if item is not None and not isinstance(item, dict):
                self._wrong(f"{name}.{key}", item, name)
            return Fields(item, name)

        return self.map_of(name, convert)


def wrong_type(value: object, where: str, wanted: str) -> InvalidRequest:
    """Return the error for a value of a wrong type, in Go's words."""
    kind = _GO_KINDS.get(type(value), "object")
    shown = f"number {value}" if kind == "number" and wanted == "int64" else kind
    return InvalidRequest(
        f"invalid JSON: json: cannot unmarshal {shown} into Go struct field {where} of type {wanted}"
    )


def decode_document(body: bytes, where: str) -> Fields:
    """Decode a body that must hold exactly one JSON object (or null)."""
    if not body.strip():
        raise InvalidRequest("invalid JSON: got EOF while reading request body")
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRequest(_what_is_wrong(body)) from error
    if value is not None and not isinstance(value, dict):
        kind = _GO_KINDS.get(type(value), "object")
        raise InvalidRequest(f"invalid JSON: json: cannot unmarshal {kind} into Go value of type {where}")
    return Fields(value, where)


def _go_words(text: str, error: json.JSONDecodeError) -> str:
    """Say where JSON ends to be JSON, as Go's scanner does."""
    position = error.pos
    if error.msg == "Expecting value":
        for literal in _LITERALS:
            if position < len(text) and text[position] == literal[0]:
                same = next(n for n in range(len(literal), 0, -1) if text.startswith(literal[:n], position))
                expected = f"in literal {literal} (expecting {literal[same]!r})"
                return _unexpected(text, position + same, expected)
    return _unexpected(text, position, _GO_CONTEXTS.get(error.msg, "looking for beginning of value"))


def _unexpected(text: str, position: int, context: str) -> str:
    if not text[position:].strip():
        return "unexpected EOF"
    return f"invalid character {text[position]!r} {context}"


def _what_is_wrong(body: bytes) -> str:
    """Say what a decoder that stops at the first error cannot: whether a whole value came before."""
    try:
        text = body.decode("utf-8").lstrip()
    except UnicodeDecodeError as error:
        return f"invalid JSON: invalid UTF-8 at byte {error.start}"
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except RecursionError:
        return "invalid JSON: exceeded max depth"
    except ValueError as error:
        if not isinstance(error, json.JSONDecodeError):
            return "invalid JSON"
        return f"invalid JSON: {_go_words(text, error)}"
    return "unexpected content after JSON" if text[end:].strip() else "invalid JSON"
