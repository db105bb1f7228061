"""Whether the overlay's shortcuts may be taken here: past the bridge, and past the host's own IP output.

They may if nobody can miss what is passed by: an administrator's rules for bridged packets, another's in a
table of nftables' families bridge and netdev, IPsec policies that are to wrap what leaves the host.
"""

from dataclasses import dataclass

from ..domains.firewall.bridged import BRIDGE_SYSCTLS
from ..host.config import Config
from ..host.kernel import SHORTCUT, Kernel
from ..model.errors import CarrickError
from .clock import Clock

_LASTS_S = 10.0
_LINK_FAMILIES = frozenset({"bridge", "netdev"})


@dataclass(frozen=True, slots=True)
class Shortcutting:
    """`against` is why they are not taken, for people to read; "" if they are."""

    against: str = ""

    @property
    def may(self) -> bool:
        return not self.against


class ShortcutPolicy:
    def __init__(self, config: Config, kernel: Kernel, clock: Clock) -> None:
        self._config = config
        self._kernel = kernel
        self._clock = clock
        self._found = Shortcutting()
        self._until = float("-inf")

    async def may(self) -> bool:
        """Tell it as it was some seconds ago at most: this is asked whenever the host is read."""
        if self._clock.monotonic() >= self._until:
            await self.look()
        return self._found.may

    async def look(self) -> Shortcutting:
        try:
            self._found = Shortcutting(await self._against())
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
            if family in _LINK_FAMILIES and name != self._config.name and await self._has_rules(table):
                return f"there are rules of others for what passes links in table {table}"
        return ""

    async def _has_rules(self, table: str) -> bool:
        return any("rule" in item for item in await self._kernel.list_nft(table) or ())
