"""What nodes send each other: JSON of typed values, small, read strictly. Pure.

The bodies of `/v1/join` and of what it answers are the engine's own values, encoded as they are; the rest
are here. Whoever reads says which type it must be: what is not exactly that is InvalidRequest.
"""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from ...model.errors import InvalidRequest

T = TypeVar("T")
MAX_BODY = 64 * 1024
"""Of a request and of an answer: certificates are a thousand bytes each."""

CA_PATH, JOIN_PATH, RENEW_PATH, PING_PATH = "/v1/ca", "/v1/join", "/v1/renew", "/v1/ping"


@dataclass(frozen=True, slots=True)
class Authority:
    """Answer of `GET /v1/ca`: the authority's certificate (PEM), for whoever can check its hash."""

    ca: str


@dataclass(frozen=True, slots=True)
class Renewal:
    """Body of `POST /v1/renew`. Who asks is in the connection's certificate, not here."""

    certificate_request: str


@dataclass(frozen=True, slots=True)
class Pong:
    """Answer of `GET /v1/ping`. `has_authority`: this node can admit and renew."""

    cluster: str
    node: str
    version: str = ""
    has_authority: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Body of an error, as the Engine API's."""

    message: str
    remedy: str = ""


def encode(value: object) -> bytes:
    return msgspec.json.encode(value)


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Return `data` as `kind`. Raises InvalidRequest naming `what`; the message repeats none of the data."""
    if len(data) > MAX_BODY:
        raise InvalidRequest(f"{what} is larger than {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        # It names the field and the types, not the value.
        raise InvalidRequest(f"{what} is malformed: {error}") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise InvalidRequest(f"{what} is not JSON") from None
