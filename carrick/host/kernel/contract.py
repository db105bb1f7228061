"""What a kernel offers. `LinuxKernel` is the real one; `carrick.testing.FakeKernel` the fake."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from ...model.observed import NamespaceState, Neighbour, WireguardState
from ...model.steps import Rule, Step

SHORTCUT: Final = "shortcut"


class Kernel(Protocol):
    """Applies steps in order and reads what is there. Safe to call from several tasks at once."""

    async def apply(self, steps: Sequence[Step]) -> None:
        """Carry out `steps` in order; on a refusal stop, having done those before it.

        Consecutive steps of one type about rows (routes, rules, FDB, neighbours) in one namespace go
        together: when one of them is refused, those of its type after it may have been done as well.

        Raises KernelRefused, Conflict, NotFound or Unsupported, naming the step.
        """
        ...

    async def remove(self, steps: Sequence[Step]) -> list[Exception]:
        """Carry out every one of `steps`, going on after errors; return the errors."""
        ...

    async def read(self, netns: str = "") -> NamespaceState:
        """Read the links, addresses and routes of a namespace."""
        ...

    async def read_fdb(self, link: str, netns: str = "") -> Mapping[str, frozenset[str]]:
        """Read a VXLAN device's rows that do not age: by MAC, the VTEPs. NotFound without the link."""
        ...

    async def read_neighbours(self, link: str, netns: str = "") -> Mapping[str, Neighbour]:
        """Read the permanent neighbours of ours on a link, by address. NotFound without the link."""
        ...

    async def read_wireguard(self, link: str) -> WireguardState:
        """Read a WireGuard device of the daemon's own namespace, of the kernel or of `wireguard-go`.

        NotFound without the link, or if nothing answers for it.
        """
        ...

    async def read_rules(self, netns: str = "") -> tuple[Rule, ...]:
        """Read the routing rules of ours."""
        ...

    async def read_shortcut_bytes(self) -> Mapping[str, Mapping[str, int]]:
        """Return what shortcuts sent past the firewall's counters: bytes, by VXLAN device and peer."""
        ...

    async def has_ipsec(self) -> bool:
        """Tell whether the daemon's namespace has IPsec policies (`ip xfrm policy`)."""
        ...

    async def has_netns(self, path: str) -> bool:
        """Tell whether a namespace is held at `path`."""
        ...

    async def netns_id(self, path: str) -> int:
        """Return the kernel's own number of the namespace that `path` leads to, which no other one gets
        before the next boot; 0 if it leads to none."""
        ...

    async def supports(self, kind: str) -> bool:
        """Tell whether this kernel has links of a kind (`macvlan`, `ipvlan` …), loading its module.

        Of SHORTCUT it tells whether it lets our eBPF programs in and has a place for them at links.
        """
        ...

    async def list_netns(self, directory: Path) -> list[str]:
        """Return the paths in `directory` that hold a namespace, or held one before a reboot."""
        ...

    async def list_nft(self, table: str) -> list[dict[str, Any]] | None:
        """Return an nftables table (`family name`) as nft's JSON, or None if it is not there."""
        ...

    async def list_nft_tables(self) -> list[str]:
        """Return the nftables tables that there are, each as `family name`, foreign ones included."""
        ...

    async def list_nft_chains(self) -> list[dict[str, Any]]:
        """Return the nftables chains that there are, foreign ones included, as nft's JSON: without rules."""
        ...

    async def list_nft_chain(self, chain: str) -> list[dict[str, Any]] | None:
        """Return a chain (`family table name`) and its rules as nft's JSON, or None if it is not there."""
        ...

    async def list_nft_all(self) -> list[dict[str, Any]]:
        """Return the whole ruleset, foreign tables included, as nft's JSON (for `doctor`)."""
        ...

    async def list_legacy_tables(self) -> list[str]:
        """Return the tables of iptables-legacy, which nftables does not show (`filter`, `ip6 nat` …)."""
        ...

    async def read_sysctl(self, key: str, netns: str = "") -> str | None: ...

    async def find_sysctl(self, keys: Sequence[str], value: str) -> list[str]:
        """Return the files from which the host, as it boots, gives one of these sysctls that value."""
        ...

    def is_own_change(self, port_id: int, link: str = "", row: str = "") -> bool:
        """Tell whether a netlink notification comes of our doing.

        By its port id where that is one of our sockets'; or, as the kernel reports links that go in its
        own name, by the name of the link that went or went down. It does so too with `row`s that leave a
        link's FDB or neighbour table (as `own.fdb_row` and `own.neighbour_row` write them); a removal of
        ours answers for one notification, and a link that went or went down for all of its rows'.
        """
        ...
