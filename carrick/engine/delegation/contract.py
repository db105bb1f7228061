"""What makes endpoints in our stead; `cni` and `remote` implement it over their own protocols."""

from typing import Protocol

from ...model.delegation import EndpointCall, Made
from ...model.networks import Network


class Delegate(Protocol):
    """Makes endpoints. Every method may be called again after it failed, or after a daemon was killed."""

    async def create_network(self, network: Network) -> None:
        """Make a network known. Raises what the other side says."""
        ...

    async def remove_network(self, network: Network) -> None: ...

    async def add(self, call: EndpointCall) -> Made:
        """Make an endpoint. What was made of it before it failed is undone by `remove`."""
        ...

    async def publish(self, call: EndpointCall) -> None:
        """Let the outside in, the endpoint being in its sandbox."""
        ...

    async def check(self, call: EndpointCall, made: Made) -> None:
        """Raise what is not as it was made."""
        ...

    async def leave(self, call: EndpointCall, made: Made) -> None:
        """Take an endpoint out of use: its link is about to be taken out of the sandbox."""
        ...

    async def remove(self, call: EndpointCall, made: Made | None) -> bool:
        """Remove an endpoint, or what there is of one; that there is none is no error.

        Returns False if nobody was there who knew of it: its link is nobody's then. An error says that it is
        worth trying again.
        """
        ...
