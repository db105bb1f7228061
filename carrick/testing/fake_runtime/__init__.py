"""`Runtime`, `ImageStore` and `VolumeStore` in memory, for tests of the engine and the API.

They keep the contracts of `carrick.host.runtime.api`: the same errors in the same words, exits told once and
again after a restart until released, sessions that miss nothing. A test plays the processes with
`exit`, `emit` and `read_stdin`. `fail_at` lets the next call of a method raise.
"""

from .images import FakeImageStore
from .runtime import FakeRuntime, FakeSession
from .volumes import FakeVolumeStore

__all__ = ["FakeImageStore", "FakeRuntime", "FakeSession", "FakeVolumeStore"]
