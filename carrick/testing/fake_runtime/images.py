"""`FakeImageStore`: images that a test adds, and what a registry would have."""

from collections.abc import AsyncGenerator, AsyncIterable, Collection
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ...host.runtime.image_store import (
    CommitRequest,
    ImageRemoval,
    ImageUser,
    Platform,
    Progress,
    ProgressCallback,
    PushResult,
    RegistryAuth,
    RemoteImage,
    SearchResult,
)
from ...host.runtime.imageindex import ImageIndex, StoredImage, plan_removal
from ...host.runtime.reference import parse_reference
from ...model.containers import Image, ImageConfig, ImageHistory
from ...model.errors import Denied, NotFound
from ...model.ids import ImageId
from .clock import Clock, utc_now


class FakeImageStore:
    """Images without files, but with the real index: names, lookup and removal are the real ones."""

    def __init__(self, root: Path = Path("/fake"), clock: Clock = utc_now) -> None:
        self.index = ImageIndex()
        self.registry: dict[str, ImageConfig] = {}
        """What can be pulled, by familiar name with tag."""
        self._root = root
        self._clock = clock

    def add(self, name: str, config: ImageConfig | None = None) -> Image:
        """Put an image there."""
        tag = parse_reference(name).with_default_tag().familiar
        image = Image(
            id=ImageId(f"sha256:{sha256(tag.encode()).hexdigest()}"),
            created=self._clock(),
            architecture="amd64",
            config=config or ImageConfig(cmd=("sh",)),
            history=(ImageHistory(created=self._clock(), comment="fake"),),
        )
        self.index = self.index.add(StoredImage(image, ""), [tag])
        return self.index.images[image.id].image

    async def open(self) -> None:
        """Do nothing."""

    async def pull(
        self,
        reference: str,
        progress: ProgressCallback | None = None,
        *,
        platform: str = "",
        auth: RegistryAuth | None = None,
    ) -> Image:
        """Take an image from `registry`."""
        named = parse_reference(reference).with_default_tag()
        if named.familiar not in self.registry:
            raise NotFound(f"manifest for {named.familiar} not found: manifest unknown: manifest unknown")
        image = self.add(named.familiar, self.registry[named.familiar])
        if progress is not None:
            progress(Progress(f"Pulling from {named.path}", id=named.tag))
            progress(Progress(f"Status: Downloaded newer image for {named.familiar}"))
        return image

    async def remote_tags(self, repository: str, auth: RegistryAuth | None = None) -> tuple[str, ...]:
        """Return the tags in `registry`."""
        found = (name.rpartition(":") for name in self.registry)
        return tuple(sorted(tag for name, _, tag in found if name == repository))

    async def push(
        self,
        reference: str,
        progress: ProgressCallback | None = None,
        *,
        auth: RegistryAuth | None = None,
    ) -> PushResult:
        """Put an image's configuration into `registry`."""
        named = parse_reference(reference).with_default_tag()
        if progress is not None:
            progress(Progress(f"The push refers to repository [{named.name}]"))
        image = self.index.tagged(named).image
        self.registry[named.familiar] = image.config
        return PushResult(named.tag, image.id, 1)

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        """Take any password that is not `wrong`."""
        if auth.password == "wrong":
            raise Denied(f"login attempt to https://{server}/v2/ failed with status: 401 Unauthorized")
        return ""

    async def remote(self, reference: str, auth: RegistryAuth | None = None) -> RemoteImage:
        """Look into `registry`."""
        named = parse_reference(reference).with_default_tag()
        if named.familiar not in self.registry:
            raise NotFound("manifest unknown: manifest unknown")
        digest = f"sha256:{sha256(named.familiar.encode()).hexdigest()}"
        return RemoteImage(
            "application/vnd.oci.image.manifest.v1+json", digest, 1, (Platform("amd64", "linux"),)
        )

    async def search(
        self, term: str, *, limit: int = 25, auth: RegistryAuth | None = None
    ) -> tuple[SearchResult, ...]:
        """Find names in `registry`; each has as many stars as it has letters."""
        names = sorted({name.rpartition(":")[0] for name in self.registry if term in name})
        return tuple(SearchResult(name, stars=len(name)) for name in names[:limit])

    async def import_url(
        self,
        url: str,
        reference: str = "",
        changes: tuple[str, ...] = (),
        message: str = "",
        progress: ProgressCallback | None = None,
    ) -> ImageId:
        """Make an image whatever is there."""
        if progress is not None:
            progress(Progress(f"Downloading from {url}"))
        return self.add(reference or "imported").id

    async def load(
        self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback | None = None
    ) -> tuple[str, ...]:
        """Take the archive's text as names, one a line."""
        text = await _read(archive)
        names = tuple(self.add(line.decode()).repo_tags[0] for line in text.split())
        if progress is not None:
            for name in names:
                progress(Progress(stream=f"Loaded image: {name}\n"))
        return names

    async def import_tar(
        self,
        archive: AsyncIterable[bytes] | Path,
        reference: str = "",
        changes: tuple[str, ...] = (),
        message: str = "",
    ) -> ImageId:
        """Make an image whatever the archive holds."""
        from ...host.runtime.oci import apply_changes

        await _read(archive)
        config = apply_changes(ImageConfig(), changes)
        return self.add(reference or "imported", config).id

    async def commit(self, layer: AsyncIterable[bytes], request: CommitRequest) -> ImageId:
        """Make an image whatever the layer holds."""
        await _read(layer)
        image = self.add(request.reference or "committed", request.config)
        made = replace(image, author=request.author, comment=request.comment, parent=request.base)
        self.index = self.index.add(StoredImage(made, ""))
        return image.id

    async def save(self, references: tuple[str, ...]) -> AsyncGenerator[bytes, None]:
        """Yield the names, one a line, as `load` takes them."""
        for reference in references:
            for tag in self.index.find(reference).image.repo_tags:
                yield f"{tag}\n".encode()

    async def tag(self, reference: str, target: str) -> None:
        """Give a name."""
        image_id = self.index.find(reference).image.id
        self.index = self.index.tag(image_id, parse_reference(target).with_default_tag().familiar)

    async def list(self) -> tuple[Image, ...]:
        """Return all."""
        return tuple(stored.image for stored in self.index.images.values())

    async def get(self, reference: str) -> Image:
        """Look one up."""
        return self.index.find(reference).image

    async def history(self, reference: str) -> tuple[ImageHistory, ...]:
        """Return the one step."""
        return self.index.find(reference).image.history

    async def remove(
        self, reference: str, *, force: bool = False, users: Collection[ImageUser] = ()
    ) -> tuple[ImageRemoval, ...]:
        """Remove by the real rules."""
        plan = plan_removal(self.index, reference, force=force, users=users)
        self.index = plan.index
        return plan.report

    async def prune(
        self, images: Collection[Image], *, used: Collection[ImageId]
    ) -> tuple[tuple[ImageRemoval, ...], int]:
        """Remove the unused."""
        report: tuple[ImageRemoval, ...] = ()
        for image in images:
            if image.id not in used:
                report += await self.remove(image.id, force=True)
        return report, 0

    def place(self, image_id: ImageId) -> Path:
        """Return a path, where nothing is."""
        return self._root / image_id.removeprefix("sha256:")

    async def bytes_on_disk(self) -> int:
        """Return what the images say."""
        return sum(stored.image.size for stored in self.index.images.values())

    async def lower_dir(self, image_id: ImageId) -> Path:
        """Return a path, where nothing is."""
        if image_id not in self.index.all():
            raise NotFound(f"No such image: {image_id}")
        return self._root / image_id.removeprefix("sha256:")


async def _read(archive: AsyncIterable[bytes] | Path) -> bytes:
    if isinstance(archive, Path):
        return archive.read_bytes()
    return b"".join([chunk async for chunk in archive])
