"""What a caller of Docker's plugins needs: find one, and call it."""

from collections.abc import Mapping
from typing import Any, Protocol

from ...model.errors import Failed

NETWORK_DRIVER = "NetworkDriver"
IPAM_DRIVER = "IpamDriver"


class Refused(Failed):
    """A plugin answered, and the answer was no."""


class Plugins(Protocol):
    """Plugins by name; `HttpPlugins` is the real one, `carrick.testing.FakePlugins` the fake."""

    def knows(self, name: str) -> bool:
        """Tell whether a plugin of that name is in the usual places. Reads directories, calls nobody."""
        ...

    async def activate(self, name: str) -> frozenset[str]:
        """Return what a plugin implements; it is asked once. NotFound, Unavailable or Refused."""
        ...

    async def call(
        self, name: str, method: str, request: Mapping[str, Any], *, patience_s: float | None = None
    ) -> dict[str, Any]:
        """Call `NetworkDriver.CreateNetwork` or the like and return the answer.

        A plugin that cannot be reached is tried again with growing pauses, as long as `patience_s` (None:
        the usual time). NotFound if there is none of that name; Unavailable if it cannot be reached or does
        not answer in time, Refused if it says no, both naming it; Unsupported for a method that it lacks.
        """
        ...
