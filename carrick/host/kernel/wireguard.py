"""WireGuard devices, through `wg`: one program for those of the kernel and those of `wireguard-go`.

The private key goes in by standard input: never as an argument, which everybody on the machine can read.
"""

import socket
import subprocess
import time
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

from ...model.errors import KernelRefused, NotFound, Unsupported
from ...model.observed import WireguardPeerState, WireguardState
from ...model.steps import SetWireguard, WireguardPeer

_TIMEOUT_S = 10
_FEW = 64
_DRAINED_S = 0.05
_MOST_WORDS = 3 * 500
_DISCARD = 9


def set_wireguard(step: SetWireguard) -> None:
    """Carry out the step: only what differs is touched, and packets of other peers go on meanwhile.

    `wg syncconf` would do it in one go, and lose packets: it takes every peer's prefixes away for a moment,
    and has wireguard-go open its socket again. With a peer that is new a handshake is begun at once: it may
    have taken this key in place of another a moment ago, and have packets that it cannot send before.
    """
    before = read_wireguard(step.link)
    private_key = ""
    if before.public_key != step.public_key:
        try:
            private_key = Path(step.key_file).read_text().strip()
        except OSError as error:
            raise KernelRefused(
                f"the WireGuard key in {step.key_file} cannot be read: {error.strerror}", subject=step.link
            ) from error
    known = {seen.peer.public_key: seen.peer for seen in before.peers}
    for peer in step.peers:
        if (was := known.get(peer.public_key)) and set(was.allowed) - set(peer.allowed):
            _wg(step.link, "set", step.link, "peer", peer.public_key, "allowed-ips", ",".join(peer.allowed))
    if text := render_changes(step, before, private_key):
        _wg(step.link, "addconf", step.link, "/dev/stdin", stdin=text)
    wanted = {peer.public_key for peer in step.peers}
    if gone := sorted(known.keys() - wanted):
        # What is on its way through a peer is lost with it: its prefixes are another's by now, and it goes
        # when it is empty.
        time.sleep(_DRAINED_S)
        words = [word for key in gone for word in ("peer", key, "remove")]
        for start in range(0, len(words), _MOST_WORDS):
            _wg(step.link, "set", step.link, *words[start : start + _MOST_WORDS])
    fresh = [peer for peer in step.peers if peer.public_key not in known and peer.endpoint]
    # Many at once are a node that starts: nobody waits for it, and they would all be asked together.
    if known and len(fresh) <= _FEW:
        for peer in fresh:
            _greet(step.link, peer)


def render_changes(step: SetWireguard, before: WireguardState, private_key: str) -> str:
    """Return what `wg addconf` is to add to a device (wg(8)), "" for nothing: the rest stays untouched."""
    interface: list[str] = []
    if before.public_key != step.public_key:
        interface.append(f"PrivateKey = {private_key}")
    if before.port != step.port:
        interface.append(f"ListenPort = {step.port}")
    lines = ["[Interface]", *interface] if interface else []
    known = {seen.peer.public_key: seen.peer for seen in before.peers}
    for peer in step.peers:
        was = known.get(peer.public_key)
        if was == peer:
            continue
        had = was or WireguardPeer(peer.public_key)
        lines += ["[Peer]", f"PublicKey = {peer.public_key}"]
        if peer.endpoint and peer.endpoint != had.endpoint:
            lines.append(f"Endpoint = {peer.endpoint}")
        if peer.allowed:
            # All of them, always: a [Peer] section takes away what it does not name, also in `addconf`.
            lines.append(f"AllowedIPs = {', '.join(peer.allowed)}")
        if peer.keepalive_s != had.keepalive_s:
            lines.append(f"PersistentKeepalive = {peer.keepalive_s or 'off'}")
    return "".join(f"{line}\n" for line in lines)


def _greet(link: str, peer: WireguardPeer) -> None:
    """Send a datagram to the peer's own address, by the device alone; that shakes hands first."""
    alone = next((text for text in peer.allowed if text.endswith("/128")), "")
    if not alone:
        return
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sender.setblocking(False)
        sender.sendto(b"", (alone.removesuffix("/128"), _DISCARD))


def read_wireguard(link: str) -> WireguardState:
    try:
        socket.if_nametoindex(link)
    except OSError:
        raise NotFound(f"link {link} does not exist") from None
    return parse_dump(_wg(link, "show", link, "dump"))


def parse_dump(text: str) -> WireguardState:
    """Parse `wg show LINK dump`: the device's line, then one for each peer (wg(8))."""
    lines = text.splitlines()
    if not lines:
        raise KernelRefused("wg show printed nothing")
    _, public_key, port, *_ = lines[0].split("\t")
    peers = []
    for line in lines[1:]:
        key, _, at, allowed, handshake_s, received, sent, keepalive = line.split("\t")
        prefixes = sorted(
            map(ip_network, () if allowed == "(none)" else allowed.split(",")),
            key=lambda network: (network.version, network.network_address.packed, network.prefixlen),
        )
        peer = WireguardPeer(
            key,
            "" if at == "(none)" else at,
            tuple(map(str, prefixes)),
            0 if keepalive == "off" else int(keepalive),
        )
        peers.append(WireguardPeerState(peer, int(handshake_s) * 10**9, int(received), int(sent)))
    peers.sort(key=lambda seen: seen.peer.public_key)
    return WireguardState("" if public_key == "(none)" else public_key, int(port), tuple(peers))


def _wg(link: str, *arguments: str, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            ["wg", *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except FileNotFoundError as error:
        raise Unsupported(
            "wg is not installed", remedy="install wireguard-tools (Debian: apt-get install wireguard-tools)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise KernelRefused(f"wg {arguments[0]} {link} did not end", subject=link) from error
    if done.returncode:
        said = done.stderr.strip()
        if "No such device" in said or "Protocol not supported" in said or "Unable to access" in said:
            raise NotFound(f"no WireGuard device {link} answers: {said}")
        raise KernelRefused(f"wg {arguments[0]} {link}: {said}", subject=link)
    return done.stdout
