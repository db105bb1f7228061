"""The bridge filter: takes packets between containers of one bridge past the host's IP rules, if it may.

Once, at the daemon's start; who switches it on again later is not overruled before the next one.
"""

import logging
from dataclasses import dataclass

from ..domains.firewall.bridged import BRIDGE_SYSCTLS, find_need
from ..host.config import Config
from ..host.kernel import Kernel
from ..model.errors import CarrickError
from ..model.guests import KUBERNETES
from ..model.steps import SetSysctl
from .state import State

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Filtering:
    """What there is: `on` are the sysctls that send bridged packets through IP rules.

    There are none without br_netfilter. `need` says who may need it, "" if nobody does; it is found out only
    where that matters.
    """

    on: tuple[str, ...] = ()
    need: str = ""


class BridgeFilter:
    def __init__(self, config: Config, kernel: Kernel, state: State) -> None:
        self._config = config
        self._kernel = kernel
        self._state = state

    async def look(self) -> Filtering:
        values = {key: await self._kernel.read_sysctl(key) for key in BRIDGE_SYSCTLS}
        on = tuple(key for key, value in values.items() if value not in {None, "0"})
        if not on or self._config.bridge_filter != "auto":
            return Filtering(on)
        need = find_need(
            await self._kernel.list_nft_all(),
            self._config.name,
            legacy=await self._kernel.list_legacy_tables(),
            written=await self._kernel.find_sysctl(BRIDGE_SYSCTLS, "1"),
            has_pods=any(guest.engine == KUBERNETES for guest in self._state.guests.values()),
        )
        return Filtering(on, need=need)

    async def settle(self) -> None:
        """Do as the setting says. A host that does not allow it goes on as it is."""
        if self._config.bridge_filter == "keep":
            return
        try:
            found = await self.look()
            if not found.on or found.need:
                return
            await self._kernel.apply([SetSysctl(key, "0") for key in found.on])
        except CarrickError as error:
            _log.warning("bridged packets go on passing the IP rules: %s", error)
        else:
            _log.info(
                "%s switched off: nothing here needs it (bridge_filter = keep leaves it)", ", ".join(found.on)
            )
