"""What a route takes and what it answers, as values; and shorthand for what most of them have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..routing import ApiVersion
from ..streams import MULTIPLEXED_STREAM, RAW_STREAM
from .kinds import BYTES, FLAG, ID, INTEGER, NUMBER, TEXT, TEXTS, Kind, Null, Object, Plain, asked, maybe

JSON = "application/json"
TAR = "application/x-tar"
OCTETS = "application/octet-stream"

ERROR = Object("Error", {"message": TEXT, "remedy": maybe(TEXT)})
ALWAYS = (400, 500, 503)
"""A version out of range or a malformed request, a bug, a store that is away: any route can meet them."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or a header."""

    name: str
    kind: Kind
    text: str
    required: bool = False
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with one status. `content` maps content types to what is in the body.

    With `lines`, the body is any number of JSON values, one to a line.
    """

    text: str
    content: Mapping[str, Kind] = field(default_factory=dict)
    lines: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    since: ApiVersion = ()


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body."""

    content: Mapping[str, Kind]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. Errors that any route can answer (`ALWAYS`) go without saying."""

    summary: str
    answers: Mapping[int, Answer]
    errors: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    text: str = ""


Operations = Mapping[str, Operation]
"""By method and template, as in the table of routes: `GET /containers/{id}/json`."""

CREATED = Object("IdResponse", {"Id": ID})


def query(name: str, kind: Kind, text: str, *, required: bool = False) -> Parameter:
    return Parameter(name, kind, text, required)


def flag(name: str, text: str) -> Parameter:
    """Return a boolean as Docker reads it."""
    return query(name, FLAG, text)


def number(name: str, text: str) -> Parameter:
    return query(name, INTEGER, text)


def word(name: str, text: str, *, required: bool = False) -> Parameter:
    return query(name, TEXT, text, required=required)


def several(name: str, text: str) -> Parameter:
    """Return a parameter that may be repeated."""
    return query(name, TEXTS, text)


def moment(name: str, text: str) -> Parameter:
    return query(name, NUMBER, f"{text}, as seconds[.nanoseconds] since 1970")


def filters(names: str) -> Parameter:
    """Return the `filters` parameter. `names` are those that are known."""
    text = f'JSON: `{{"name": ["value", …]}}`. Known are {names}; others are refused.'
    return Parameter("filters", Plain({"type": "string", "contentMediaType": JSON}), text)


REGISTRY_AUTH = Parameter(
    "X-Registry-Auth",
    TEXT,
    "Credentials of the registry: JSON (AuthConfig) in base64url. Nonsense counts as none.",
    place="header",
)


def json(kind: Kind, text: str = "As asked") -> Answer:
    """Return an answer of one JSON value."""
    return Answer(text, {JSON: kind})


def lines(kind: Kind, text: str) -> Answer:
    """Return an answer of JSON values, one to a line, as they come about."""
    return Answer(text, {JSON: kind}, lines=True)


def done(text: str = "Done") -> Answer:
    """Return an answer without a body."""
    return Answer(text)


def output(text: str) -> Answer:
    """Return the output of a process: frames, or raw bytes of a terminal."""
    return Answer(text, {RAW_STREAM: BYTES, MULTIPLEXED_STREAM: BYTES})


def document(kind: Kind, *, required: bool = True) -> Body:
    """Return a body of one JSON object."""
    return Body({JSON: kind if required else Null(kind)}, required)


def archive() -> Body:
    """Return a body that is a tar archive, whatever it calls itself."""
    return Body({TAR: BYTES, OCTETS: BYTES, "*/*": BYTES}, required=True)


AUTH_CONFIG = Object(
    "AuthConfig",
    {
        "username": asked(TEXT),
        "password": asked(TEXT),
        "email": asked(TEXT),
        "serveraddress": asked(TEXT),
        "identitytoken": asked(TEXT),
        "registrytoken": asked(TEXT),
    },
)
