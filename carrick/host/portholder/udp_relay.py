"""Relays UDP: to the container, each client is a socket of its own, so that answers find their way back."""

import logging
import socket
import struct
from collections import OrderedDict
from contextlib import suppress

from ..resolver.reactor import READ, Reactor
from .contract import HeldPort
from .descriptors import Descriptors
from .sockets import admit_datagrams, family_of, refuse_datagrams, socket_address

IDLE_S = 90.0
"""Docker's proxy forgets a client after as long."""
MAX_FLOWS = 2048
"""Per port. One more client, and the one silent for longest is forgotten."""
SWEEP_EVERY_S = 5.0
_AT_ONCE = 64
_CONTROL_SPACE = 64
_IPV6_PKTINFO = 50
_IP_PKTINFO = 8
_LOG = logging.getLogger(__name__)

Control = list[tuple[int, int, bytes]]
FlowKey = tuple[tuple[object, ...], bytes]
"""The client's address and the control message with the address of ours that it wrote to."""


class UdpRelay:
    """Takes datagrams on one held port. The socket is the holder's, and bound before and after."""

    def __init__(
        self,
        sock: socket.socket,
        port: HeldPort,
        reactor: Reactor,
        descriptors: Descriptors,
        buffer: memoryview,
    ) -> None:
        """`buffer` may be shared with others: nothing stays in it. It takes a whole datagram."""
        self._socket = sock
        self._port = port
        self._reactor = reactor
        self._descriptors = descriptors
        self._buffer = buffer
        self._flows: OrderedDict[FlowKey, _Flow] = OrderedDict()
        self._target: tuple[str, int] | None = None

    @property
    def flow_count(self) -> int:
        return len(self._flows)

    def point_to(self, target: tuple[str, int] | None) -> None:
        """Relay there; None: take none.

        Flows to another target end at once: a client that never pauses would keep its flow, and with it
        the address of a container that has gone. Raises OSError.
        """
        if target == self._target:
            return
        self._end_flows()
        if self._target is None:
            admit_datagrams(self._socket)
            self._reactor.add(self._socket.fileno(), self._on_ready)
        elif target is None:
            self._reactor.remove(self._socket.fileno())
            refuse_datagrams(self._socket)
        self._target = target

    def close(self) -> None:
        """Take no more, and forget all clients."""
        self.point_to(None)

    def sweep(self) -> None:
        """Forget clients that have been silent for `IDLE_S`. To be called every `SWEEP_EVERY_S`."""
        limit = self._reactor.now() - IDLE_S
        while self._flows:
            key, flow = next(iter(self._flows.items()))
            if flow.used_at > limit:
                return
            self._end(key, flow)

    def touch(self, flow: "_Flow") -> None:
        """Note that the flow is in use."""
        flow.used_at = self._reactor.now()
        self._flows.move_to_end(flow.key)

    def answer(self, flow: "_Flow") -> None:
        """Send the container's answers to the client, from the address it wrote to."""
        for _ in range(_AT_ONCE):
            try:
                count = flow.upstream.recv_into(self._buffer)
                self._socket.sendmsg([self._buffer[:count]], flow.control, 0, flow.client)
            except BlockingIOError:
                break
            except OSError:
                continue  # the container refused one, or the client has gone: UDP promises nothing
        self.touch(flow)

    def _on_ready(self, _events: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                count, control, _, client = self._socket.recvmsg_into([self._buffer], _CONTROL_SPACE)
            except BlockingIOError:
                return
            except OSError:
                continue
            flow = self._flow(client, _reply_control(control))
            if flow is None:
                continue
            datagram = self._buffer[:count]
            try:
                flow.upstream.send(datagram)
            except ConnectionRefusedError:
                # That was about an earlier datagram, and this one has not been sent.
                _send_quietly(flow.upstream, datagram)
            except OSError:
                pass
            self.touch(flow)

    def _flow(self, client: tuple[object, ...], control: Control) -> "_Flow | None":
        key = (client, control[0][2] if control else b"")
        if (flow := self._flows.get(key)) is not None:
            return flow
        if self._target is None:
            return None
        if len(self._flows) >= MAX_FLOWS:
            self._end(*next(iter(self._flows.items())))
        if not self._descriptors.take_for_relay(1):
            if not self._flows:
                return None
            self._end(*next(iter(self._flows.items())))
            if not self._descriptors.take_for_relay(1):
                return None
        upstream: socket.socket | None = None
        try:
            upstream = socket.socket(family_of(self._target[0]), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            upstream.connect(socket_address(*self._target))
        except OSError as error:
            _LOG.debug("%s: cannot relay to %s:%d: %s", self._port, *self._target, error)
            if upstream is not None:
                upstream.close()
            self._descriptors.give_back(1)
            return None
        flow = self._flows[key] = _Flow(self, key, client, control, upstream, self._reactor.now())
        self._reactor.add(upstream.fileno(), flow.on_ready, READ)
        return flow

    def _end(self, key: FlowKey, flow: "_Flow") -> None:
        del self._flows[key]
        self._reactor.remove(flow.upstream.fileno())
        flow.upstream.close()
        self._descriptors.give_back(1)

    def _end_flows(self) -> None:
        for key, flow in list(self._flows.items()):
            self._end(key, flow)


class _Flow:
    __slots__ = ("client", "control", "key", "relay", "upstream", "used_at")

    def __init__(
        self,
        relay: UdpRelay,
        key: FlowKey,
        client: tuple[object, ...],
        control: Control,
        upstream: socket.socket,
        now: float,
    ) -> None:
        self.relay = relay
        self.key = key
        self.client = client
        self.control = control
        self.upstream = upstream
        self.used_at = now

    def on_ready(self, _events: int) -> None:
        self.relay.answer(self)


def _reply_control(received: Control) -> Control:
    """Return the control message that makes the answer leave from where the question came to."""
    for level, kind, data in received:
        if level == socket.IPPROTO_IPV6 and kind == _IPV6_PKTINFO:
            address, index = data[:16], data[16:20]
            if address[0] == 0xFF:
                return []  # a group cannot send
            is_link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            # The route decides on the interface, but where an address means nothing without one.
            return [(level, kind, address + (index if is_link_local else bytes(4)))]
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = struct.unpack("@I4s4s", data)
            return [(level, kind, struct.pack("@I4s4s", 0, local, bytes(4)))]
    return []


def _send_quietly(sock: socket.socket, data: memoryview) -> None:
    with suppress(OSError):
        sock.send(data)
