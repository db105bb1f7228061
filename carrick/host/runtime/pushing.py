"""Push: an image's blobs and manifest to a registry, with Docker's progress.

An image that came from a registry goes out as it came in, byte by byte, so that its digest stays what
it was. One that was loaded or imported has plain layers; they are compressed on the way, in a manner
that gives the same bytes each time, so that the registry has them the second time.
"""

import asyncio
import contextlib
import gzip
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import msgspec
from yarl import URL

from ...model.ids import short
from . import archives, manifests, oci
from .image_store import Progress, ProgressCallback, PushResult
from .pulling import first_error
from .reference import Reference
from .registry import RegistryProblem, RegistrySession, repository_path

_CHUNK = 1 << 18
_STEP = 1 << 19
_CONCURRENT = 5
"""Layers at a time, as in Docker."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An image to push. `diff_ids` are its layers' in the manifest's order; `is_original`: the
    manifest is to be sent as it stands. `siblings` are repositories of the same registry that may
    have its layers."""

    manifest: bytes
    is_original: bool
    config: bytes
    diff_ids: tuple[str, ...]
    siblings: tuple[str, ...] = ()


class Push:
    """One push to one repository; several tags may follow each other."""

    def __init__(
        self,
        session: RegistrySession,
        repository: Reference,
        *,
        blobs: Path,
        work: Path,
        report: ProgressCallback,
        retry_delays_s: tuple[float, ...],
    ) -> None:
        self._session = session
        self._repository = repository
        self._blobs = blobs
        self._work = work
        self._report = report
        self._retry_delays_s = retry_delays_s
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def run(self, tag: str, image: Outgoing) -> PushResult:
        """Send an image under a tag. Raises RegistryProblem."""
        manifest = oci.parse_manifest(image.manifest)
        pairs = list(zip(manifest.layers, image.diff_ids, strict=True))
        for _, diff_id in reversed(pairs):
            self._report(Progress("Preparing", id=short(diff_id)))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    diff_id: group.create_task(
                        self._layer(layer, diff_id, image), name=f"layer {short(diff_id)}"
                    )
                    # An image may have the same (empty) layer twice.
                    for diff_id, layer in {diff_id: layer for layer, diff_id in reversed(pairs)}.items()
                }
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        layers = [tasks[diff_id].result() for _, diff_id in pairs]
        await self._config(manifest.config.digest, image.config)
        text, media_type = image.manifest, ""
        if not image.is_original:
            text, media_type = render_manifest(manifest.config.digest, len(image.config), layers)
        kind = media_type or manifests.media_type_of(text, "")
        path = repository_path(self._repository, "manifests", tag)
        async with self._session.request("PUT", path, headers={"Content-Type": kind}, body=lambda: text):
            pass
        digest = oci.digest_of(text)
        self._report(Progress(f"{tag}: digest: {digest} size: {len(text)}"))
        return PushResult(tag, digest, len(text))

    async def _layer(self, layer: oci.Descriptor, diff_id: str, image: Outgoing) -> oci.Descriptor:
        """Have a layer in the registry; return it as the manifest names it."""
        shown = short(diff_id)
        if self._slots.locked():
            self._report(Progress("Waiting", id=shown))
        async with self._slots:
            source = self._blobs / layer.hex
            if not image.is_original:
                source, layer = await self._compressed(source, layer)
            if await self._is_there(layer.digest):
                self._report(Progress("Layer already exists", id=shown))
                return layer
            for sibling in image.siblings:
                if await self._mount(layer.digest, sibling):
                    self._report(Progress(f"Mounted from {sibling}", id=shown))
                    return layer
            await self._upload(source, layer, shown)
            self._report(Progress("Pushed", id=shown))
            return layer

    async def _compressed(self, source: Path, layer: oci.Descriptor) -> tuple[Path, oci.Descriptor]:
        """Return a layer as a registry should have it: gzip and zstd as they are, the rest as gzip."""
        kind = await asyncio.to_thread(archives.compression_of, source)
        if kind in ("gzip", "zstd"):
            return source, oci.Descriptor(layer.digest, layer.size, f"{oci.OCI_LAYER}+{kind}")
        target = self._work / f"{layer.hex}.gz"
        await compress(source, target)
        digest = await asyncio.to_thread(archives.digest_of_file, target)
        return target, oci.Descriptor(digest, target.stat().st_size, f"{oci.OCI_LAYER}+gzip")

    async def _is_there(self, digest: str) -> bool:
        path = repository_path(self._repository, "blobs", digest)
        async with self._session.request("HEAD", path, accept=(404,)) as response:
            return response.status == 200

    async def _mount(self, digest: str, sibling: str) -> bool:
        """Ask the registry to take a blob from another repository. A refusal is no error."""
        query = f"?mount={quote(digest, safe=':')}&from={quote(sibling, safe='/')}"
        path = repository_path(self._repository, "blobs", "uploads", query)
        async with self._session.request("POST", path, accept=range(400, 500)) as response:
            if response.status == 202 and (place := response.headers.get("Location")):
                # It has begun an ordinary upload instead, which nobody will end.
                with contextlib.suppress(RegistryProblem):
                    async with self._session.request("DELETE", self._absolute(place), accept=range(400, 600)):
                        pass
            return response.status == 201

    def _absolute(self, location: str) -> str:
        base = URL(self._session.base + "/")
        return str(base.join(URL(location, encoded=True)))

    async def _upload(self, source: Path, layer: oci.Descriptor, shown: str) -> None:
        for delay_s in (*self._retry_delays_s, None):
            try:
                await self._upload_once(source, layer, shown)
                return
            except RegistryProblem as problem:
                if delay_s is None or not problem.is_passing:
                    raise
                plural = "" if delay_s == 1 else "s"
                self._report(Progress(f"Retrying in {delay_s:g} second{plural}", id=shown))
                await asyncio.sleep(delay_s)

    async def _upload_once(self, source: Path, layer: oci.Descriptor, shown: str) -> None:
        path = repository_path(self._repository, "blobs", "uploads", "")
        async with self._session.request("POST", path) as response:
            location = self._absolute(response.headers.get("Location", ""))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(layer.size)}
        # Opened here: whoever breaks the request off abandons the generator, and with it what it holds.
        with open(source, "rb") as file:

            def body() -> AsyncIterator[bytes]:
                return self._read(file, layer.size, shown)

            async with self._session.request("PATCH", location, headers=headers, body=body) as response:
                location = self._absolute(response.headers.get("Location", location))
        mark = "&" if "?" in location else "?"
        end = f"{location}{mark}digest={quote(layer.digest, safe=':')}"
        async with self._session.request("PUT", end, headers={"Content-Length": "0"}):
            pass

    async def _read(self, file: BinaryIO, size: int, shown: str) -> AsyncIterator[bytes]:
        """Yield a file from its beginning: a request may be made a second time, with a new token."""
        sent, told = 0, -_STEP
        while chunk := await asyncio.to_thread(_read_at, file, sent):
            yield chunk
            sent += len(chunk)
            if sent - told >= _STEP or sent == size:
                told = sent
                self._report(Progress("Pushing", id=shown, current=sent, total=size))

    async def _config(self, digest: str, text: bytes) -> None:
        if await self._is_there(digest):
            return
        path = repository_path(self._repository, "blobs", "uploads", "")
        async with self._session.request("POST", path) as response:
            location = self._absolute(response.headers.get("Location", ""))
        mark = "&" if "?" in location else "?"
        async with self._session.request(
            "PUT",
            f"{location}{mark}digest={quote(digest, safe=':')}",
            headers={"Content-Type": "application/octet-stream"},
            body=lambda: text,
        ):
            pass


def _read_at(file: BinaryIO, offset: int) -> bytes:
    # Not by the file's own position: a thread of a request that was broken off may still be reading.
    return os.pread(file.fileno(), _CHUNK, offset)


def render_manifest(config: str, config_size: int, layers: Iterable[oci.Descriptor]) -> tuple[bytes, str]:
    """Return a manifest and its media type: Docker's, unless a layer is one that Docker's has no name for."""
    layers = list(layers)
    if any(layer.media_type.endswith("zstd") for layer in layers):
        return oci.as_oci(oci.Manifest(oci.Descriptor(config, config_size), layers)), oci.OCI_MANIFEST
    document = {
        "schemaVersion": 2,
        "mediaType": manifests.DOCKER_MANIFEST,
        "config": oci.Descriptor(config, config_size, manifests.DOCKER_CONFIG),
        "layers": [oci.Descriptor(layer.digest, layer.size, manifests.DOCKER_LAYER_GZIP) for layer in layers],
    }
    return msgspec.json.encode(document), manifests.DOCKER_MANIFEST


async def compress(source: Path, target: Path) -> None:
    """Write `source`, whatever its own compression, as gzip, the same bytes each time."""
    await asyncio.to_thread(_compress, source, target)


def _compress(source: Path, target: Path) -> None:
    with (
        archives.open_uncompressed(source) as reader,
        open(target, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as writer,
    ):
        shutil.copyfileobj(reader, writer, 1 << 20)
