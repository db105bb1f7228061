"""WireGuard devices, through `wg`: one program for those of the kernel and those of `wireguard-go`.

The private key goes in by standard input: never as an argument, which everybody on the machine can read.
"""

import socket
import subprocess
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

from ...model.errors import KernelRefused, NotFound, Unsupported
from ...model.steps import SetWireguard, WireguardPeer, WireguardPeerState, WireguardState

_TIMEOUT_S = 10
_FEW = 64
_DISCARD = 9


def set_wireguard(step: SetWireguard) -> None:
    """Carry out the step: what differs changes, sessions with other peers go on.

    With a peer that is new a handshake is begun at once: it may have taken this key in place of another a
    moment ago, and have packets waiting for us that it cannot send before.
    """
    try:
        private_key = Path(step.key_file).read_text().strip()
    except OSError as error:
        raise KernelRefused(
            f"the WireGuard key in {step.key_file} cannot be read: {error.strerror}", subject=step.link
        ) from error
    known = set(_wg(step.link, "show", step.link, "peers").split())
    _wg(step.link, "syncconf", step.link, "/dev/stdin", stdin=render_configuration(step, private_key))
    fresh = [peer for peer in step.peers if peer.public_key not in known and peer.endpoint]
    # Many at once are a node that starts: nobody waits for it, and they would all be asked together.
    if known and len(fresh) <= _FEW:
        for peer in fresh:
            _greet(step.link, peer)


def _greet(link: str, peer: WireguardPeer) -> None:
    """Send a datagram to the peer's own address, by the device alone; that shakes hands first."""
    alone = next((text for text in peer.allowed if text.endswith("/128")), "")
    if not alone:
        return
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sender.setblocking(False)
        sender.sendto(b"", (alone.removesuffix("/128"), _DISCARD))


def render_configuration(step: SetWireguard, private_key: str) -> str:
    """Return what `wg syncconf` reads (wg(8))."""
    lines = ["[Interface]", f"PrivateKey = {private_key}", f"ListenPort = {step.port}"]
    for peer in step.peers:
        lines += ["[Peer]", f"PublicKey = {peer.public_key}"]
        lines += [f"Endpoint = {peer.endpoint}"] if peer.endpoint else []
        lines += [f"AllowedIPs = {', '.join(peer.allowed)}"] if peer.allowed else []
        lines += [f"PersistentKeepalive = {peer.keepalive_s}"] if peer.keepalive_s else []
    return "\n".join(lines) + "\n"


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
