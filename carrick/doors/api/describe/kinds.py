"""The types of JSON values, and JSON Schema of them (2020-12, as in OpenAPI 3.1).

One declaration serves both directions. What the daemon shows is described exactly: all keys, nothing besides.
What it is asked is read as Go reads JSON: every key may be absent or null, and unknown ones are ignored.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..routing import ApiVersion

Json = dict[str, Any]


class Side(enum.Enum):
    """In which direction a field is known."""

    BOTH = "both"
    ASKED = "asked"
    SHOWN = "shown"


@dataclass(frozen=True, slots=True)
class Plain:
    """A type that JSON Schema has a word for."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Array:
    item: "Kind"


@dataclass(frozen=True, slots=True)
class Map:
    """An object whose keys are data."""

    value: "Kind"


@dataclass(frozen=True, slots=True)
class Null:
    """The kind, or null."""

    kind: "Kind"


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds."""

    kinds: tuple["Kind", ...]


@dataclass(frozen=True, slots=True)
class Sided:
    """A kind that is asked for in more ways than it is shown."""

    shown: "Kind"
    asked: "Kind"


@dataclass(frozen=True, slots=True)
class Field:
    """A key of an object. `since` is the first API version with it, `before` the first without."""

    kind: "Kind"
    optional: bool = False
    since: ApiVersion = ()
    before: ApiVersion = ()
    side: Side = Side.BOTH
    text: str = ""


@dataclass(frozen=True, slots=True)
class Object:
    """An object with known keys. One with a name becomes a component of the document."""

    name: str
    fields: Mapping[str, "Field | Kind"] = field(default_factory=dict)

    def with_fields(self, name: str, fields: Mapping[str, "Field | Kind"]) -> "Object":
        """Return a larger object under another name."""
        return Object(name, {**self.fields, **fields})


Kind = Plain | Array | Map | Null | Either | Sided | Object

TEXT = Plain({"type": "string"})
INTEGER = Plain({"type": "integer", "format": "int64"})
NUMBER = Plain({"type": "number"})
FLAG = Plain({"type": "boolean"})
NOTHING = Plain({"type": "null"})
NO_ITEMS = Plain({"type": "array", "maxItems": 0})
EMPTY = Plain({"type": "object", "maxProperties": 0})
TIME = Plain(
    {
        "type": "string",
        "format": "date-time",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$",
        "description": "RFC 3339; a moment that has not been is 0001-01-01T00:00:00Z",
    }
)
ID = Plain({"type": "string", "pattern": "^[0-9a-f]{64}$"})
ID_OR_NONE = Plain({"type": "string", "pattern": "^([0-9a-f]{64})?$"})
IMAGE_ID = Plain({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"})
TEXTS = Array(TEXT)
TEXT_MAP = Map(TEXT)
# A set, as Go writes it: {"80/tcp": {}}. Ancient clients send a list.
SET = Sided(shown=Map(EMPTY), asked=Either((Map(Plain({})), TEXTS)))
# Docker takes a single word for a list of one.
WORDS = Sided(shown=Null(TEXTS), asked=Either((TEXTS, TEXT)))
BYTES = Plain({"type": "string", "contentMediaType": "application/octet-stream"})


def choice(*values: str) -> Plain:
    """Return one of some words."""
    return Plain({"type": "string", "enum": list(values)})


def maybe(kind: "Field | Kind") -> Field:
    """Return a field that is left out where there is nothing to say."""
    return replace(as_field(kind), optional=True)


def since(kind: "Field | Kind", *version: int) -> Field:
    return replace(as_field(kind), since=version)


def before(kind: "Field | Kind", *version: int) -> Field:
    return replace(as_field(kind), before=version)


def asked(kind: "Field | Kind") -> Field:
    """Return a field that requests may have and answers do not."""
    return replace(as_field(kind), side=Side.ASKED)


def shown(kind: "Field | Kind") -> Field:
    """Return a field that answers have and nobody can ask for."""
    return replace(as_field(kind), side=Side.SHOWN)


def as_field(kind: "Field | Kind") -> Field:
    return kind if isinstance(kind, Field) else Field(kind)


class SchemaWriter:
    """Writes the schemas of one API version; named objects gather in `components`."""

    def __init__(self, version: ApiVersion) -> None:
        self._version = version
        self.components: dict[str, Json] = {}

    def schema(self, kind: Kind, *, asked: bool = False) -> Json:
        """Return the schema of what is shown, or of what may be `asked`."""
        match kind:
            case Plain(schema):
                return dict(schema)
            case Array(item):
                written = self.schema(item, asked=asked)
                if asked and isinstance(item, Object):
                    written = _or_null(written)
                return {"type": "array", "items": written}
            case Map(value):
                written = self.schema(value, asked=asked)
                return {"type": "object", "additionalProperties": _or_null(written) if asked else written}
            case Null(inner):
                return _or_null(self.schema(inner, asked=asked))
            case Either(kinds):
                return {"anyOf": [self.schema(item, asked=asked) for item in kinds]}
            case Sided(shown, wanted):
                return self.schema(wanted if asked else shown, asked=asked)
            case Object(name):
                return self._component(kind, asked) if name else self._object(kind, asked)

    def _component(self, kind: Object, asked: bool) -> Json:
        name = f"{kind.name}Request" if asked else kind.name
        if name not in self.components:
            self.components[name] = {}  # so that the order is that of first mention
            self.components[name] = self._object(kind, asked)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, kind: Object, asked: bool) -> Json:
        properties: dict[str, Json] = {}
        required: list[str] = []
        for name, item in kind.fields.items():
            entry = as_field(item)
            if not self._is_known(entry, asked):
                continue
            written = self.schema(entry.kind, asked=asked)
            properties[name] = _described(_or_null(written) if asked else written, entry.text)
            if not (asked or entry.optional):
                required.append(name)
        document: Json = {"type": "object", "properties": properties}
        if required:
            document["required"] = required
        if not asked:
            document["additionalProperties"] = False
        return document

    def _is_known(self, entry: Field, asked: bool) -> bool:
        if entry.side is (Side.SHOWN if asked else Side.ASKED):
            return False
        version = self._version
        return entry.since <= version and (not entry.before or version < entry.before)


def _described(schema: Json, text: str) -> Json:
    return {**schema, "description": text} if text else schema


def _or_null(schema: Json) -> Json:
    kind = schema.get("type")
    if kind == "null" or not schema:
        return schema
    if isinstance(kind, str):
        wider = {**schema, "type": [kind, "null"]}
        if "enum" in schema:
            wider["enum"] = [*schema["enum"], None]
        return wider
    if isinstance(kind, list):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {"anyOf": [schema, {"type": "null"}]}
