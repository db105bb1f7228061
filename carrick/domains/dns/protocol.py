"""The control protocol between the daemon and `carrick-dns`: requests, replies, and their coding.

One JSON object per line in each direction over a Unix socket; replies come in the order of the
requests. A connection that changes anything begins with a `Snapshot`; whatever is not in it is
dropped. `Update`s after it carry rising revisions. A reply names the revision it answers, and by
then every name in the request can be asked for, except as `problems` says.
"""

import msgspec

from ...model.errors import InvalidRequest
from .zone import EndpointRecord, NetworkZone, SandboxView


class PutNetwork(msgspec.Struct, frozen=True, tag="put-network"):
    """Add a network or replace it whole, its endpoints included."""

    network: NetworkZone


class RemoveNetwork(msgspec.Struct, frozen=True, tag="remove-network"):
    """Forget a network; that it is unknown is no error."""

    network_id: str


class PutEndpoint(msgspec.Struct, frozen=True, tag="put-endpoint"):
    """Add an endpoint to a known network or replace it."""

    network_id: str
    endpoint: EndpointRecord


class RemoveEndpoint(msgspec.Struct, frozen=True, tag="remove-endpoint"):
    """Forget an endpoint; that it, or its network, is unknown is no error."""

    network_id: str
    endpoint_id: str


class PutSandbox(msgspec.Struct, frozen=True, tag="put-sandbox"):
    """Add a sandbox or replace its view. Its listeners are checked, and reopened if need be."""

    view: SandboxView


class RemoveSandbox(msgspec.Struct, frozen=True, tag="remove-sandbox"):
    """Stop answering in a sandbox.

    `namespace_stays` removes our redirection from it too; without, it goes with the namespace.
    """

    sandbox_id: str
    namespace_stays: bool = False


Change = PutNetwork | RemoveNetwork | PutEndpoint | RemoveEndpoint | PutSandbox | RemoveSandbox


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """Everything there is."""

    revision: int
    networks: tuple[NetworkZone, ...] = ()
    sandboxes: tuple[SandboxView, ...] = ()


class Update(msgspec.Struct, frozen=True, tag="update"):
    """Changes to make in order, all or none."""

    revision: int
    changes: tuple[Change, ...]


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Ask for the counters."""


class Lookup(msgspec.Struct, frozen=True, tag="lookup"):
    """Ask what a sandbox would be answered; nothing is forwarded. `rtype` is A, AAAA, PTR or ANY."""

    sandbox_id: str
    name: str
    rtype: str = "A"


Request = Snapshot | Update | Stats | Lookup


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The revision is in force. `problems` says for which sandboxes it is not, and why."""

    revision: int
    problems: dict[str, str] = {}


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Nothing was changed."""

    message: str
    revision: int = 0


class StatsReport(msgspec.Struct, frozen=True, tag="stats-report"):
    """The counters since the process started, and what it holds now."""

    revision: int
    sandboxes: int
    networks: int
    endpoints: int
    counters: dict[str, int]
    unreachable: dict[str, str] = {}


class LookupReport(msgspec.Struct, frozen=True, tag="lookup-report"):
    """An answer for people. `source` is `names`, `forward` (then `servers` are whom) or `none`."""

    source: str
    rcode: str
    records: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()


Reply = Done | Refused | StatsReport | LookupReport


class Codec:
    """Encodes and decodes both directions; build one per process, decoders are not free."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
        self._replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)

    def encode(self, message: Request | Reply) -> bytes:
        """Return the message as one line, without its end."""
        return self._encoder.encode(message)

    def decode_request(self, line: bytes) -> Request:
        """Raises InvalidRequest, which names the field at fault."""
        try:
            return self._requests.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"not a request: {error}") from error

    def decode_reply(self, line: bytes) -> Reply:
        """Raises InvalidRequest for what is no reply."""
        try:
            return self._replies.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"not a reply: {error}") from error
