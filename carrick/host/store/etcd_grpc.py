"""gRPC over one HTTP/2 connection, as far as etcd's API needs it (https://grpc.github.io, PROTOCOL-HTTP2).

`h2` keeps HTTP/2's rules; this moves its bytes. It runs in the event loop's callbacks and so needs no task
of its own. Calls share the connection, and each has a window of its own: what a slow reader has not taken
stays with etcd, where it costs nothing, instead of piling up here, and holds up no other call.

A connection that says nothing while calls are open is asked for a sign of life, and given up without one.
It is not asked more often than etcd allows (`--grpc-keepalive-min-time`, 5 s), nor while it is idle. That is
for an etcd that hangs. A machine or a way that is gone shows sooner, by TCP's own probes: kernels answer them
without waking anybody.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .etcd_call import Call, CallFailed, Code
from .etcd_config import Endpoint

WINDOW_BYTES = 1024 * 1024
"""What etcd may send of one call before its reader has taken anything."""

_CONNECTION_WINDOW_BYTES = 0x7FFF_FFFF
PING_AFTER_S = 6.0
PING_TIMEOUT_S = 4.0
_PROBE_AFTER_S, _PROBE_EVERY_S = 2, 1
_UNANSWERED_MS = 4500
"""How long nothing may be acknowledged, probe or data, until the connection is given up."""


class ConnectFailed(Exception):
    """No connection came about, for the reason given."""


Headers = list[tuple[str, str]]


class GrpcConnection(asyncio.Protocol):
    """A connection to one endpoint. Made by `connect`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        ping_after_s: float = PING_AFTER_S,
        ping_timeout_s: float = PING_TIMEOUT_S,
    ) -> None:
        self.endpoint = endpoint
        self._ping_after_s = ping_after_s
        self._ping_timeout_s = ping_timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                # What we send is right, and what is wrong with what etcd sends shows in its meaning.
                validate_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self._calls: dict[int, Call] = {}
        self._window = asyncio.Event()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._lost: str | None = None
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._pinged = False
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def lost(self) -> str | None:
        """Why the connection is gone; None while it is not."""
        return self._lost

    @property
    def is_idle(self) -> bool:
        return not self._calls

    async def wait_ready(self) -> None:
        """Wait until the other side has spoken HTTP/2. Raises ConnectFailed."""
        await asyncio.shield(self._ready)

    def open(self, method: str, metadata: Headers) -> Call:
        """Begin a call. Raises CallFailed."""
        if self._lost is not None:
            raise CallFailed(Code.UNAVAILABLE, self._lost, untouched=True)
        headers = [
            (":method", "POST"),
            (":scheme", "https" if self.endpoint.tls else "http"),
            (":path", method),
            (":authority", self.endpoint.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "carrick"),
            *metadata,
        ]
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, headers)
        except h2.exceptions.ProtocolError as error:
            raise CallFailed(Code.UNAVAILABLE, f"cannot begin a call: {error}", untouched=True) from error
        call = self._calls[stream] = Call(self, stream)
        if self._timer is None:
            self._heard = self._loop.time()
            self._pinged = False
            self._timer = self._loop.call_later(self._ping_after_s, self._check_alive)
        return call

    async def send(self, call: Call, stream: int, data: bytes, *, end: bool) -> None:
        """Send a call's bytes as the windows allow. Raises CallFailed."""
        rest = memoryview(data)
        while True:
            if (failure := call.failure) is not None:
                # It has not got the whole message, so it cannot have acted on it.
                raise CallFailed(failure.code, failure.text, untouched=True)
            try:
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
                if room > 0:
                    part, rest = rest[:room], rest[room:]
                    self._h2.send_data(stream, part.tobytes(), end_stream=end and not rest)
            except h2.exceptions.ProtocolError as error:
                raise CallFailed(Code.UNAVAILABLE, f"cannot send: {error}", untouched=True) from error
            if not rest:
                self._flush()
                return
            if room <= 0:
                self._flush()
                self._window.clear()
                await self._window.wait()

    def send_part(self, stream: int, data: bytes | bytearray) -> int:
        """Send as much of `data` as the windows allow, and return how much that was."""
        sent = 0
        try:
            while sent < len(data):
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
                if room <= 0:
                    break
                part = bytes(data[sent : sent + room])
                self._h2.send_data(stream, part)
                sent += len(part)
        except h2.exceptions.ProtocolError:
            return len(data)  # it has ended, and its reader will hear of that
        self._flush()
        return sent

    def credit(self, stream: int, size: int) -> None:
        """Let the other side send `size` more bytes of a call."""
        if self._lost is None and stream in self._calls:
            try:
                self._h2.increment_flow_control_window(size, stream)
            except h2.exceptions.ProtocolError:
                return  # the stream has ended meanwhile
            self._flush()

    def reset(self, stream: int) -> None:
        """Tell the other side that nobody listens to a call any more."""
        if self._calls.pop(stream, None) is not None and self._lost is None:
            try:
                self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            except h2.exceptions.ProtocolError:
                return
            self._flush()

    def close(self, reason: str = "the connection was closed") -> None:
        """Close at once; calls that are open fail. May be repeated."""
        self._lose(reason)

    # asyncio.Protocol ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _watch_over(transport.get_extra_info("socket"))
        self._h2.initiate_connection()
        self._h2.update_settings(
            {
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
            }
        )
        # Calls are held back one by one; the connection as a whole never is.
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - 65535)
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return
        self._heard = self._loop.time()
        self._pinged = False
        if not self._ready.done() and data.startswith(b"HTTP/1"):
            self._lose("it does not speak HTTP/2: it answered in HTTP/1")
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._lose(f"it does not speak HTTP/2: {error}" if not self._ready.done() else str(error))
            return
        credit = 0
        for event in events:
            match event:
                case h2.events.DataReceived():
                    credit += event.flow_controlled_length
                    if call := self._calls.get(event.stream_id):
                        call.take_data(event.data, event.flow_controlled_length)
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    if call := self._calls.get(event.stream_id):
                        call.take_headers(_texts(event.headers))
                case h2.events.StreamEnded():
                    if call := self._calls.pop(event.stream_id, None):
                        call.take_end()
                case h2.events.StreamReset():
                    if call := self._calls.pop(event.stream_id, None):
                        refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                        text = f"it ended the call (HTTP/2 error {event.error_code})"
                        call.fail(CallFailed(Code.UNAVAILABLE, text, untouched=refused))
                        self._window.set()
                case h2.events.WindowUpdated():
                    self._push()
                case h2.events.RemoteSettingsChanged():
                    self._push()
                    if not self._ready.done():
                        self._ready.set_result(None)
                case h2.events.ConnectionTerminated():
                    self._end_of(event)
                    return
        if credit:
            self._h2.increment_flow_control_window(credit)
        self._flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lose(describe(error) if error else "it closed the connection")

    # --------------------------------------------------------------------------------------------

    def _end_of(self, event: h2.events.ConnectionTerminated) -> None:
        """It is going away. Calls that it has not seen can be repeated elsewhere."""
        text = (event.additional_data or b"").decode("utf-8", "replace") or "it is going away"
        last = event.last_stream_id or 0
        for stream in [stream for stream in self._calls if stream > last]:
            self._calls.pop(stream).fail(CallFailed(Code.UNAVAILABLE, text, untouched=True))
        self._lose(text)

    def _lose(self, reason: str) -> None:
        if self._lost is not None:
            return
        self._lost = reason
        if self._timer is not None:
            self._timer.cancel()
        if not self._ready.done():
            self._ready.set_exception(ConnectFailed(reason))
            self._ready.exception()  # nobody may be waiting
        if self._transport is not None:
            self._transport.abort()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(CallFailed(Code.UNAVAILABLE, reason))
        self._window.set()
        self.on_lost()

    def _push(self) -> None:
        self._window.set()
        for call in tuple(self._calls.values()):
            call.push()

    def _flush(self) -> None:
        if self._transport is not None and (data := self._h2.data_to_send()):
            self._transport.write(data)

    def _check_alive(self) -> None:
        """Called every now and then while calls are open."""
        self._timer = None
        if self._lost is not None or not self._calls:
            return
        silent_s = self._loop.time() - self._heard
        if self._pinged:
            self._lose(f"it has not answered for {silent_s:.0f} seconds")
            return
        wait_s = self._ping_after_s - silent_s
        if wait_s <= 0.001:
            self._h2.ping(b"carrick\0")
            self._flush()
            self._pinged = True
            wait_s = self._ping_timeout_s
        self._timer = self._loop.call_later(wait_s, self._check_alive)


async def connect(
    endpoint: Endpoint,
    tls: ssl.SSLContext | None,
    *,
    timeout_s: float,
    ping_after_s: float = PING_AFTER_S,
    ping_timeout_s: float = PING_TIMEOUT_S,
) -> GrpcConnection:
    """Return a connection on which the other side has spoken HTTP/2. Raises ConnectFailed."""
    # At its level DEBUG it writes every header to the log, and one of them is the token.
    logging.getLogger("hpack").setLevel(logging.INFO)
    connection = GrpcConnection(endpoint, ping_after_s=ping_after_s, ping_timeout_s=ping_timeout_s)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(
                lambda: connection,
                endpoint.host,
                endpoint.port,
                ssl=tls,
                server_hostname=endpoint.host if tls else None,
            )
            await connection.wait_ready()
    except TimeoutError:
        connection.close()
        raise ConnectFailed(f"no answer within {timeout_s:g} seconds") from None
    except OSError as error:
        connection.close()
        raise ConnectFailed(describe(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _watch_over(connected: socket.socket | None) -> None:
    """Have the kernel see whether the other side is still there."""
    if connected is not None and connected.family in {socket.AF_INET, socket.AF_INET6}:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_AFTER_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_EVERY_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)


def describe(error: BaseException) -> str:
    """Say what went wrong with a connection, in words of its own where the library's are for programmers."""
    match error:
        case ssl.SSLCertVerificationError():
            text: str = error.verify_message
            return f"its certificate is refused: {text.rstrip('.')}"
        case ssl.SSLError() if error.reason == "WRONG_VERSION_NUMBER":
            return "it does not speak TLS"
        case ssl.SSLError() if error.reason and "ALERT" in error.reason:
            alert = error.reason.split("ALERT_", 1)[-1].replace("_", " ").lower()
            return f"it refused our certificate or our lack of one ({alert})"
        case ssl.SSLError():
            return f"TLS: {error.reason or error}"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError():
            return "it reset the connection"
        case OSError() if error.strerror:
            return error.strerror
    return str(error) or type(error).__name__


def _texts(headers: Iterable[tuple[str | bytes, str | bytes]] | None) -> list[tuple[str, str]]:
    """Headers as text, which `header_encoding` makes them; the types do not know."""
    return [(_text(name), _text(value)) for name, value in headers or ()]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
