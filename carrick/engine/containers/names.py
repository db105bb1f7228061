"""Which names of containers are taken, from before a container with one is in the records."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...model.errors import Conflict
from ...model.ids import ContainerId
from ..naming import choose_name
from ..state import State


class ContainerNames:
    def __init__(self, state: State) -> None:
        self._state = state
        self._coming: dict[str, ContainerId] = {}

    def lock(self) -> asyncio.Lock:
        """Return the lock to hold from seeing that a name is free until it is taken."""
        return self._state.lock("container names")

    def check_free(self, name: str) -> None:
        """Raise Conflict, in Docker's words, for a name that a container has or is being created with."""
        if (holder := self._holder_of(name)) is not None:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    @asynccontextmanager
    async def claim(self, name: str, container_id: ContainerId) -> AsyncIterator[str]:
        """Keep a name ("": one that is chosen) for a container that is created in the block."""
        async with self.lock():
            name = name or choose_name(lambda text: self._holder_of(text) is not None, secrets.randbelow)
            self.check_free(name)
            self._coming[name] = container_id
        try:
            yield name
        finally:
            del self._coming[name]

    def _holder_of(self, name: str) -> ContainerId | None:
        named = self._state.container_named(name)
        return named.id if named is not None else self._coming.get(name)
