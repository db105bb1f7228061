"""Locks by name, for sandboxes and networks: calls about one are made one after the other."""

import asyncio
from weakref import WeakValueDictionary


class Locks:
    """A lock that nobody holds or waits for is forgotten."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __call__(self, key: str) -> asyncio.Lock:
        found = self._locks.get(key)
        if found is None:
            found = self._locks[key] = asyncio.Lock()
        return found
