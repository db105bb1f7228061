"""What goes to `wg` and what comes from it."""

import base64
from dataclasses import replace

import pytest

from carrick.host.kernel.wireguard import parse_dump, render_changes
from carrick.model.errors import KernelRefused
from carrick.model.observed import WireguardPeerState, WireguardState
from carrick.model.steps import SetWireguard, WireguardPeer

KEY, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
PEER = WireguardPeer(KEY, "192.0.2.2:51820", ("10.1.2.0/26", "fd01::/112"), 25)


def test_only_what_differs_is_said() -> None:
    step = SetWireguard("wg0", "/key", OTHER, 51820, (PEER, WireguardPeer(OTHER)))
    assert render_changes(step, WireguardState(), "SECRET") == (
        "[Interface]\nPrivateKey = SECRET\nListenPort = 51820\n"
        f"[Peer]\nPublicKey = {KEY}\nEndpoint = 192.0.2.2:51820\n"
        "AllowedIPs = 10.1.2.0/26, fd01::/112\nPersistentKeepalive = 25\n"
        f"[Peer]\nPublicKey = {OTHER}\n"
    )
    assert "SECRET" not in repr(step) + step.describe()
    before = WireguardState(OTHER, 51820, (WireguardPeerState(PEER),))
    more = replace(PEER, allowed=("10.1.2.0/26", "10.1.3.0/26", "fd01::/112"), keepalive_s=0)
    assert render_changes(replace(step, peers=(more,)), before, "") == (
        f"[Peer]\nPublicKey = {KEY}\nAllowedIPs = 10.1.2.0/26, 10.1.3.0/26, fd01::/112\n"
        "PersistentKeepalive = off\n"
    )
    assert render_changes(replace(step, peers=(PEER,)), before, "") == ""


def test_a_dump() -> None:
    state = parse_dump(
        f"PRIVATE\t{OTHER}\t51820\toff\n"
        f"{KEY}\t(none)\t192.0.2.2:51820\tfd01::/112,10.1.2.0/26\t1700000000\t10\t20\t25\n"
        f"{OTHER}\t(none)\t(none)\t(none)\t0\t0\t0\toff\n"
    )
    assert (state.public_key, state.port) == (OTHER, 51820)
    assert [seen.peer for seen in state.peers] == [PEER, WireguardPeer(OTHER)]
    assert (state.peers[0].handshake_ns, state.peers[0].received, state.peers[0].sent) == (
        1700000000 * 10**9,
        10,
        20,
    )
    assert "PRIVATE" not in repr(state)
    assert parse_dump("(none)\t(none)\t0\toff\n").public_key == ""
    with pytest.raises(KernelRefused):
        parse_dump("")
