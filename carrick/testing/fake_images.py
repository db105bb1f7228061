"""The images of the fake engine: one at first, and what is pulled and loaded."""

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.values import (
    Filters,
)
from ..host.runtime.image_store import (
    ImageRemoval,
    Platform,
    Progress,
    ProgressCallback,
    PushResult,
    RegistryAuth,
    RemoteImage,
    SearchResult,
)
from ..model.containers import (
    Image,
    ImageConfig,
    ImageHistory,
)
from ..model.errors import Denied, Failed, InvalidRequest, NotFound
from ..model.ids import ImageId
from .fake_ids import NO_FILTERS, make_id

if TYPE_CHECKING:
    from .fake_engine import FakeEngine

IMAGE_ID = ImageId("sha256:" + hashlib.sha256(b"busybox").hexdigest())


class FakeImages:
    def __init__(self, engine: "FakeEngine") -> None:
        self._engine = engine
        self.store: dict[ImageId, Image] = {}
        self.auth: RegistryAuth | None = None
        self._add(IMAGE_ID, "busybox:latest")

    def _add(self, identifier: ImageId, *tags: str) -> Image:
        image = Image(
            identifier,
            repo_tags=tags,
            created=datetime(2024, 1, 2, tzinfo=UTC),
            size=4_261_502,
            architecture="amd64",
            layers=("sha256:" + "1" * 64,),
            history=(ImageHistory(datetime(2024, 1, 2, tzinfo=UTC), "ADD file"),),
            config=ImageConfig(env=("PATH=/bin",), cmd=("sh",)),
        )
        self.store[identifier] = image
        return image

    async def get(self, reference: str) -> Image:
        wanted = reference if ":" in reference else f"{reference}:latest"
        for image in self.store.values():
            digest = image.id.removeprefix("sha256:")
            prefix = reference.removeprefix("sha256:")
            if wanted in image.repo_tags or (len(prefix) > 3 and digest.startswith(prefix)):
                return image
        raise NotFound(f"No such image: {wanted}")

    async def pull(
        self,
        reference: str,
        progress: ProgressCallback,
        *,
        platform: str = "",
        auth: RegistryAuth | None = None,
        all_tags: bool = False,
    ) -> Image:
        self.auth = auth
        if reference.startswith("missing"):
            raise NotFound(f"pull access denied for {reference}, repository does not exist")
        progress(Progress(f"Pulling from {reference}"))
        for current in range(0, 1_000_001, 250_000):
            progress(Progress("Downloading", "0123456789ab", current, 1_000_000))
            await asyncio.sleep(0)
        if reference.startswith("broken"):
            raise Failed("unexpected EOF while reading a layer")
        progress(Progress(f"Status: Downloaded newer image for {reference}"))
        return self._add(ImageId("sha256:" + make_id(reference)), reference)

    async def push(
        self,
        reference: str,
        progress: ProgressCallback,
        *,
        auth: RegistryAuth | None = None,
        all_tags: bool = False,
    ) -> tuple[PushResult, ...]:
        self.auth = auth
        progress(Progress(f"The push refers to repository [docker.io/library/{reference}]"))
        image = await self.get(reference)
        layer = image.layers[0].removeprefix("sha256:")[:12]
        progress(Progress("Preparing", id=layer))
        progress(Progress("Pushing", layer, 1000, 1000))
        progress(Progress("Pushed", id=layer))
        tag = reference.partition(":")[2] or "latest"
        progress(Progress(f"{tag}: digest: {image.id} size: 527"))
        return (PushResult(tag, image.id, 527),)

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        if auth.password == "wrong":
            raise Denied(f"login attempt to https://{server}/v2/ failed with status: 401 Unauthorized")
        return "token" if auth.username == "token-user" else ""

    async def remote(self, reference: str, auth: RegistryAuth | None = None) -> RemoteImage:
        if reference.startswith("missing"):
            raise NotFound("manifest unknown: manifest unknown")
        platforms = (Platform("amd64", "linux"), Platform("arm", "linux", "v7"))
        return RemoteImage("application/vnd.oci.image.index.v1+json", IMAGE_ID, 1234, platforms)

    async def search(
        self,
        term: str,
        *,
        limit: int = 25,
        filters: Filters = NO_FILTERS,
        auth: RegistryAuth | None = None,
    ) -> tuple[SearchResult, ...]:
        found = (
            SearchResult("busybox", "A small box.", 3000, is_official=True),
            SearchResult("other/busybox"),
        )
        return tuple(result for result in found if term in result.name)[:limit]

    async def import_url(
        self,
        url: str,
        reference: str,
        changes: tuple[str, ...],
        message: str,
        progress: ProgressCallback,
    ) -> str:
        progress(Progress(f"Downloading from {url}"))
        return self._add(ImageId("sha256:" + make_id(url)), reference).id

    async def load(self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback) -> tuple[str, ...]:
        assert not isinstance(archive, Path)
        content = b"".join([piece async for piece in archive])
        if content.startswith(b"garbage"):
            raise InvalidRequest("open manifest.json: no such file or directory")
        self._add(ImageId("sha256:" + hashlib.sha256(content).hexdigest()), "loaded:latest")
        return ("loaded:latest",)

    async def import_tar(
        self, archive: AsyncIterable[bytes], reference: str, changes: tuple[str, ...], message: str
    ) -> str:
        content = b"".join([piece async for piece in archive])
        image = self._add(ImageId("sha256:" + hashlib.sha256(content).hexdigest()), reference)
        return image.id

    async def save(self, references: tuple[str, ...]) -> AsyncIterator[bytes]:
        for reference in references:
            await self.get(reference)
        yield b"tar of " + ",".join(references).encode()

    async def tag(self, reference: str, target: str) -> None:
        image = await self.get(reference)
        self.store[image.id] = replace(image, repo_tags=(*image.repo_tags, target))

    async def list(self, *, all: bool = False, filters: Filters = NO_FILTERS) -> list[Image]:
        return list(self.store.values())

    async def history(self, reference: str) -> tuple[ImageHistory, ...]:
        return (await self.get(reference)).history

    async def remove(self, reference: str, *, force: bool = False) -> tuple[ImageRemoval, ...]:
        image = await self.get(reference)
        del self.store[image.id]
        return (ImageRemoval(untagged=reference), ImageRemoval(deleted=image.id))

    async def prune(self, filters: Filters) -> tuple[tuple[ImageRemoval, ...], int]:
        return (), 0

    async def place(self, reference: str) -> Path:
        return Path("/fake/images") / (await self.get(reference)).id.removeprefix("sha256:")

    async def bytes_on_disk(self) -> int:
        return sum(image.size for image in self.store.values())

    async def commit(
        self,
        container: str,
        reference: str,
        *,
        author: str,
        comment: str,
        changes: tuple[str, ...],
        pause: bool,
    ) -> str:
        view = await self._engine.containers.get(container)
        self._engine.journal.append(f"commit {view.record.name} {reference} pause={pause} {changes}")
        return self._add(ImageId("sha256:" + make_id("commit", view.record.id)), reference).id
