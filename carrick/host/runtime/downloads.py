"""Blobs from a registry into our directory: whole or not at all, and each of them once.

Several pulls may want the same layer: the first fetches it, the others wait and see how far it is. If
the first goes away, the next one carries on where it stopped. Who waits last and leaves takes the
unfinished file along, so that nothing is left half.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ...model.errors import Failed
from ...model.ids import short
from . import oci
from .image_store import Progress, ProgressCallback
from .reference import Reference
from .registry import RegistryProblem, RegistrySession, repository_path

_CHUNK = 1 << 18
_STEP = 1 << 19
"""Bytes between two reports of one layer."""
_CONCURRENT = 3
"""Layers at a time, as in Docker."""


@dataclass(slots=True)
class _Transfer:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    listeners: list[ProgressCallback] = field(default_factory=list)

    def tell(self, progress: Progress) -> None:
        for listener in self.listeners:
            listener(progress)


class BlobDownloads:
    """Fetches blobs into `blobs`, by way of `incoming`."""

    def __init__(self, blobs: Path, incoming: Path, retry_delays_s: tuple[float, ...]) -> None:
        self._blobs = blobs
        self._incoming = incoming
        self._retry_delays_s = retry_delays_s
        self._transfers: dict[str, _Transfer] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def fetch(
        self,
        session: RegistrySession,
        repository: Reference,
        descriptor: oci.Descriptor,
        report: ProgressCallback,
    ) -> None:
        """Have a blob in the directory. Raises RegistryProblem, or Failed if it is not what its digest
        says."""
        name, shown = descriptor.hex, short(descriptor.digest)
        async with self._joined(name, report) as transfer:
            if transfer.lock.locked() or self._slots.locked():
                report(Progress("Waiting", id=shown))
            async with transfer.lock:
                if not (self._blobs / name).exists():
                    async with self._slots:
                        await self._download(session, repository, descriptor, transfer.tell)
            report(Progress("Download complete", id=shown))

    @contextlib.asynccontextmanager
    async def _joined(self, name: str, report: ProgressCallback) -> AsyncIterator[_Transfer]:
        transfer = self._transfers.setdefault(name, _Transfer())
        transfer.listeners.append(report)
        try:
            yield transfer
        finally:
            transfer.listeners.remove(report)
            if not transfer.listeners:
                del self._transfers[name]
                (self._incoming / name).unlink(missing_ok=True)

    async def _download(
        self,
        session: RegistrySession,
        repository: Reference,
        descriptor: oci.Descriptor,
        tell: Callable[[Progress], None],
    ) -> None:
        unfinished = self._incoming / descriptor.hex
        self._incoming.mkdir(parents=True, exist_ok=True)
        shown = short(descriptor.digest)
        for delay_s in (*self._retry_delays_s, None):
            try:
                await self._receive(session, repository, descriptor, unfinished, tell)
                break
            except RegistryProblem as problem:
                if delay_s is None or not problem.is_passing:
                    raise
                tell(Progress(f"Retrying in {delay_s:g} second{'' if delay_s == 1 else 's'}", id=shown))
                await asyncio.sleep(delay_s)
        tell(Progress("Verifying Checksum", id=shown))
        digest = await asyncio.to_thread(_settle, unfinished)
        if digest != descriptor.hex:
            unfinished.unlink()
            raise Failed(f"filesystem layer verification failed for digest {descriptor.digest}")
        unfinished.rename(self._blobs / descriptor.hex)

    async def _receive(
        self,
        session: RegistrySession,
        repository: Reference,
        descriptor: oci.Descriptor,
        unfinished: Path,
        tell: Callable[[Progress], None],
    ) -> None:
        """Fetch what is missing of a blob, from where an earlier attempt broke off."""
        start = unfinished.stat().st_size if unfinished.exists() else 0
        if descriptor.size and start >= descriptor.size:
            start = 0
        headers = {"Range": f"bytes={start}-"} if start else None
        path = repository_path(repository, "blobs", descriptor.digest)
        shown = short(descriptor.digest)
        async with session.request("GET", path, headers=headers, accept=(416,)) as response:
            if response.status != 206:
                start = 0
            with open(unfinished, "r+b" if start else "wb") as file:
                file.seek(start)
                size, told = start, -_STEP
                if response.status == 416:
                    raise RegistryProblem("the registry refused to go on with a layer", status=503)
                async for chunk in response.content.iter_chunked(_CHUNK):
                    await asyncio.to_thread(_write, file, chunk)
                    size += len(chunk)
                    if size > descriptor.size > 0:
                        raise Failed(f"the registry sent more than the {descriptor.size} bytes of {shown}")
                    if size - told >= _STEP or size == descriptor.size:
                        told = size
                        tell(Progress("Downloading", id=shown, current=size, total=descriptor.size))
        if size < descriptor.size:
            raise RegistryProblem(f'Get "{session.base}{path}": unexpected EOF')


def _write(file: BinaryIO, chunk: bytes) -> None:
    file.write(chunk)


def _settle(file: Path) -> str:
    """Put a file on the disk, and return its digest in hex."""
    digest = hashlib.sha256()
    with open(file, "rb") as reader:
        while block := reader.read(1 << 20):
            digest.update(block)
        os.fsync(reader.fileno())
    return digest.hexdigest()
