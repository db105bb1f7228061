"""What `carrick-ports` and its client say to each other: JSON, one message a line.

Requests carry a number that the reply repeats. They are carried out in the order in which they come, and
many may be under way.
"""

from collections.abc import Callable
from typing import NoReturn

import msgspec

from ...model.errors import (
    CarrickError,
    Conflict,
    Denied,
    Failed,
    InvalidRequest,
    KernelRefused,
    Unavailable,
    Unsupported,
)
from .contract import HeldPort, PortTaken

_KINDS: tuple[type[CarrickError], ...] = (InvalidRequest, Unavailable, Denied, Unsupported, Conflict, Failed)


class Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """Base of all; `number` joins a reply to its request."""

    number: int


class Hold(Message, frozen=True, tag="hold"):
    owner: str
    ports: tuple[HeldPort, ...]


class Release(Message, frozen=True, tag="release"):
    """`ports` None: all of the owner's."""

    owner: str
    ports: tuple[HeldPort, ...] | None = None


class Sync(Message, frozen=True, tag="sync"):
    everything: dict[str, tuple[HeldPort, ...]]


class Done(Message, frozen=True, tag="done"):
    """`problems` is empty but after a sync."""

    problems: dict[str, str] = {}


class Refused(Message, frozen=True, tag="refused"):
    """`kind` names the class of the error; `held`, `holder` and `owner` are PortTaken's."""

    kind: str
    text: str
    remedy: str | None = None
    held: HeldPort | None = None
    holder: str = ""
    owner: str = ""


Request = Hold | Release | Sync
Reply = Done | Refused

encode = msgspec.json.Encoder().encode
decode_request: Callable[[bytes], Request] = msgspec.json.Decoder(Request).decode
decode_reply: Callable[[bytes], Reply] = msgspec.json.Decoder(Reply).decode


class _Numbered(msgspec.Struct, frozen=True):
    number: int = 0


def number_of(line: bytes) -> int:
    """Return the number of a request, whatever else is wrong with it; 0 if there is none."""
    try:
        return msgspec.json.decode(line, type=_Numbered).number
    except msgspec.MsgspecError:
        return 0


def parse_request(line: bytes) -> Request:
    """Raises InvalidRequest."""
    try:
        return decode_request(line)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"not a request of carrick-ports: {error}") from error


def render_error(number: int, error: CarrickError) -> Refused:
    """Return the reply that `raise_error` turns into the same error again."""
    if isinstance(error, PortTaken):
        return Refused(number, "PortTaken", error.message, None, error.held, error.holder, error.owner)
    kind = next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), "KernelRefused")
    return Refused(number, kind, error.message, error.remedy)


def raise_error(reply: Refused) -> NoReturn:
    """Raise what the process raised."""
    if reply.held is not None:
        raise PortTaken(reply.held, reply.holder, reply.owner)
    for kind in _KINDS:
        if kind.__name__ == reply.kind:
            raise kind(reply.text, remedy=reply.remedy)
    raise KernelRefused(reply.text, subject="carrick-ports")
