"""Make a WireGuard device, and say whom it speaks to. It is changed and deleted as any other link."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CreateWireguard:
    """A WireGuard device of the kernel, up, without key or peers; Unsupported where there is none."""

    name: str
    alias: str
    mtu: int

    def describe(self) -> str:
        return f"ip link add {self.name} mtu {self.mtu} type wireguard; ip link set {self.name} up"


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """Whoever has `public_key` (base 64) is at `endpoint` (address:port, "" unknown) and may be `allowed`.

    What goes to those prefixes is encrypted for it, and what it sends must come from there. They are
    canonical, and sorted by family and address. `keepalive_s` 0 sends none.
    """

    public_key: str
    endpoint: str = ""
    allowed: tuple[str, ...] = ()
    keepalive_s: int = 0


@dataclass(frozen=True, slots=True)
class SetWireguard:
    """Give a WireGuard device, the kernel's or `wireguard-go`'s, its key, its port, and exactly these peers.

    Sessions with peers that stay go on. The private key is read from `key_file` as the step is carried out,
    and is nowhere else; `public_key` belongs to it.
    """

    link: str
    key_file: str
    public_key: str
    port: int
    peers: tuple[WireguardPeer, ...] = ()

    def describe(self) -> str:
        command = f"wg set {self.link} listen-port {self.port} private-key {self.key_file}"
        for peer in self.peers:
            command += f" peer {peer.public_key}" + (f" endpoint {peer.endpoint}" if peer.endpoint else "")
            command += f" persistent-keepalive {peer.keepalive_s}" if peer.keepalive_s else ""
            command += f" allowed-ips {','.join(peer.allowed)}" if peer.allowed else ""
        return command
