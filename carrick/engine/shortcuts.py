"""Whether shortcuts may be taken here: past bridges, the host's forwarding, and the host's own IP output.

They may if nobody can miss what is passed by: an administrator's rules for bridged packets, another's in a
table of nftables' families bridge and netdev, IPsec policies that are to wrap what leaves the host. Those of
routed networks pass what is forwarded by as well, where nobody but us has rules then.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..domains.firewall.bridged import BRIDGE_SYSCTLS
from ..host.config import Config
from ..host.kernel import SHORTCUT, Kernel
from ..model.errors import CarrickError
from .clock import Clock

_LASTS_S = 10.0
_AFTER_CHANGES_S, _BETWEEN_LOOKS_S = 0.1, 1.0
"""Rules change in crowds, and on some hosts all the time."""
_LINK_FAMILIES = frozenset({"bridge", "netdev"})
_IP_FAMILIES = frozenset({"ip", "ip6", "inet"})
_ON_THE_WAY = frozenset({"prerouting", "forward", "postrouting"})


@dataclass(frozen=True, slots=True)
class Shortcutting:
    """Why they are not taken, for people to read; "" if they are. `routed`: why not by routed networks."""

    against: str = ""
    routed: str = ""

    @property
    def may(self) -> bool:
        return not self.against

    @property
    def may_routed(self) -> bool:
        return not self.against and not self.routed


class ShortcutPolicy:
    def __init__(self, config: Config, kernel: Kernel, clock: Clock) -> None:
        self._config = config
        self._kernel = kernel
        self._clock = clock
        self._found = Shortcutting()
        self._until = float("-inf")
        self._rules_changed = asyncio.Event()

    def notice_rules(self) -> None:
        """Somebody else changed the rules of the host's firewall."""
        self._rules_changed.set()

    async def watch(self, concerns: Callable[[], bool], notice: Callable[[str], None]) -> None:
        """Look when rules were changed, if that `concerns` this host; `notice` what then is otherwise."""
        told = self._found
        while True:
            await self._rules_changed.wait()
            await asyncio.sleep(_AFTER_CHANGES_S)
            self._rules_changed.clear()
            if concerns() and (found := await self.look()) != told:
                told = found
                notice(
                    f"others' rules; shortcuts: {found.against or found.routed or 'nothing is against them'}"
                )
            await asyncio.sleep(_BETWEEN_LOOKS_S)

    async def recall(self) -> Shortcutting:
        """Tell it as it was some seconds ago at most: this is asked whenever the host is read."""
        return self._found if self._clock.monotonic() < self._until else await self.look()

    async def look(self) -> Shortcutting:
        try:
            against = await self._against()
            self._found = Shortcutting(against, "" if against else await self._against_routed())
        except CarrickError as error:
            self._found = Shortcutting(f"whether anything is against them cannot be seen: {error}")
        self._until = self._clock.monotonic() + _LASTS_S
        return self._found

    async def _against(self) -> str:
        if self._config.shortcuts == "off":
            return "shortcuts = off"
        if not await self._kernel.supports(SHORTCUT):
            return "this kernel does not let them in (it takes Linux 6.3, with eBPF and its filters for tc)"
        for key in BRIDGE_SYSCTLS:
            if await self._kernel.read_sysctl(key) == "1":
                return f"bridged packets are to pass the host's IP rules ({key}=1)"
        if await self._kernel.has_ipsec():
            return "there are IPsec policies, which they would pass by"
        for table in await self._kernel.list_nft_tables():
            family, _, name = table.partition(" ")
            # The other families' are not passed by, and may be of many thousand rules.
            if (
                family in _LINK_FAMILIES
                and name != self._config.name
                and _has_rules(await self._kernel.list_nft(table))
            ):
                return f"there are rules of others for what passes links in table {table}"
        return ""

    async def _against_routed(self) -> str:
        own = f"inet {self._config.name}"
        if _has_rules(await self._kernel.list_nft_chain(f"{own} admin")):
            return f"there are rules in the chain admin of {own}"
        for chain in await self._kernel.list_nft_chains():
            table = f"{chain['family']} {chain['table']}"
            if table != own and _is_on_the_way(chain):
                name = f"{table} {chain['name']}"
                if chain.get("policy") == "drop" or _has_rules(await self._kernel.list_nft_chain(name)):
                    return f"there are rules of others for what is forwarded, in the chain {name}"
        if tables := await self._kernel.list_legacy_tables():
            return f"there may be rules of iptables-legacy for what is forwarded ({', '.join(tables)})"
        return ""


def _is_on_the_way(chain: Mapping[str, Any]) -> bool:
    return chain["family"] in _IP_FAMILIES and chain.get("hook") in _ON_THE_WAY


def _has_rules(listed: list[dict[str, Any]] | None) -> bool:
    return any("rule" in item for item in listed or ())
