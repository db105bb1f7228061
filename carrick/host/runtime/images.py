"""The real `ImageStore`: takes images in, gives them out, names and removes them.

`imagefiles` keeps them on the disk, `registry` and its kin speak to registries, `archives` reads and writes
archives. Looking an image up starts no program.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ... import __version__
from ...model.containers import Image, ImageConfig, ImageHistory
from ...model.errors import InvalidRequest, NotFound
from ...model.ids import ImageId, short
from . import archives, manifests, oci, pulling
from .blobs import link_or_copy
from .downloads import BlobDownloads
from .image_store import (
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
from .imagefiles import ImageFiles
from .imageindex import plan_removal
from .imports import fetch_archive
from .pushing import Outgoing
from .reference import Reference, parse_reference
from .registry import RegistryClient, RegistryProblem, RegistrySession
from .remote import RemoteImages
from .seccomp import go_architecture

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# `list` is a method's name below.
_Names = list[str]
_Pairs = list[tuple[str, str]]


class LocalImageStore:
    """Images below `root`."""

    def __init__(
        self,
        root: Path,
        *,
        umoci: str = "umoci",
        machine: str | None = None,
        registries: RegistryClient | None = None,
        retry_delays_s: tuple[float, ...] = (1.0, 2.0, 4.0),
    ) -> None:
        self._files = ImageFiles(root, umoci=umoci)
        self._remote = RemoteImages(registries or RegistryClient(), retry_delays_s)
        self._downloads = BlobDownloads(self._files.blobs, root / "incoming", retry_delays_s)
        self._architecture = go_architecture(machine or os.uname().machine)

    async def open(self) -> None:
        """Read the index, clear half-done work, sweep what no image needs."""
        await self._files.open()

    async def lower_dir(self, image_id: ImageId) -> Path:
        """Return the unpacked files."""
        return await self._files.lower_dir(image_id)

    # --- questions

    async def list(self) -> tuple[Image, ...]:
        """Return all images, the newest first."""
        images = [stored.image for stored in self._files.index.images.values()]
        return tuple(sorted(images, key=lambda image: (image.created or _EPOCH, image.id), reverse=True))

    async def get(self, reference: str) -> Image:
        """Look an image up."""
        return self._files.index.find(reference).image

    async def history(self, reference: str) -> tuple[ImageHistory, ...]:
        """Return the steps, the last first."""
        return tuple(reversed(self._files.index.find(reference).image.history))

    # --- taking in

    async def pull(
        self,
        reference: str,
        progress: ProgressCallback | None = None,
        *,
        platform: str = "",
        auth: RegistryAuth | None = None,
    ) -> Image:
        """Fetch an image."""
        named = parse_reference(reference).with_default_tag()
        wanted = manifests.parse_platform(platform, self._architecture)
        report = progress or _ignore
        try:
            async with self._remote.connect(named, auth) as session:
                image, digest, is_new = await self._pull(session, named, wanted, bool(platform), report)
        except RegistryProblem as problem:
            raise pulling.pull_error(named, problem) from problem
        report(Progress(f"Digest: {digest}"))
        news = "Downloaded newer image for" if is_new else "Image is up to date for"
        report(Progress(f"Status: {news} {named.familiar}"))
        actual = Platform(image.architecture, image.os, image.variant)
        if platform and not manifests.matches(actual, wanted):
            report(
                Progress(
                    f"WARNING: image with reference {named.familiar_name} was found but does not match "
                    f"the specified platform: wanted {manifests.platform_text(wanted)}, "
                    f"actual: {manifests.platform_text(actual)}"
                )
            )
        return image

    async def _pull(
        self,
        session: RegistrySession,
        named: Reference,
        wanted: Platform,
        is_strict: bool,
        report: ProgressCallback,
    ) -> tuple[Image, str, bool]:
        """Return the image, the digest of what the name means, and whether that is news here."""
        digest = await pulling.resolve(session, named)
        name = f"{named.familiar_name}@{digest}"
        here = self._named_by(name)
        if here is not None and (not is_strict or manifests.matches(_platform_of(here), wanted)):
            report(Progress(f"Pulling from {named.path}", id=named.tag or named.familiar, is_heading=True))
            return self._settle_names(here, named, name)
        with self._files.holding() as hold:
            pulled = await pulling.pull(
                session,
                named,
                digest=digest,
                wanted=wanted,
                downloads=self._downloads,
                is_known=lambda blob: (self._files.blobs / blob).exists(),
                is_image=lambda digest: digest in self._files.index.images,
                hold=hold,
                report=report,
            )
            name = f"{named.familiar_name}@{pulled.digest}"
            if known := self._files.index.images.get(ImageId(pulled.config)):
                return self._settle_names(known.image, named, name)
            stored = await self._files.take_in(
                self._files.blobs, pulled.manifest, [], [], report, layers=pulled.layers, is_source=True
            )
            return self._settle_names(stored.image, named, name)

    def _named_by(self, name: str) -> Image | None:
        for stored in self._files.index.images.values():
            if name in stored.image.repo_digests:
                return stored.image
        return None

    def _settle_names(self, image: Image, named: Reference, name: str) -> tuple[Image, str, bool]:
        """Give a pulled image its names. Between looking and writing nobody else has a turn."""
        before = self._files.index
        tags = [replace(named, digest="").familiar] if named.tag else []
        stored = before.images[image.id]
        self._files.save_index(before.add(stored, tags, [name]))
        is_new = not {*tags, name} <= {*stored.image.repo_tags, *stored.image.repo_digests}
        return self._files.index.images[image.id].image, name.partition("@")[2], is_new

    async def remote_tags(self, repository: str, auth: RegistryAuth | None = None) -> tuple[str, ...]:
        """Return a repository's tags."""
        return await self._remote.tags(repository, auth)

    async def remote(self, reference: str, auth: RegistryAuth | None = None) -> RemoteImage:
        """Look at an image in its registry."""
        return await self._remote.look(reference, auth)

    async def search(
        self, term: str, *, limit: int = 25, auth: RegistryAuth | None = None
    ) -> tuple[SearchResult, ...]:
        """Search a registry."""
        return await self._remote.search(term, limit=limit, auth=auth)

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        """Log in to a registry."""
        return await self._remote.check_credentials(server, auth)

    async def push(
        self,
        reference: str,
        progress: ProgressCallback | None = None,
        *,
        auth: RegistryAuth | None = None,
    ) -> PushResult:
        """Send an image to its registry."""
        named = parse_reference(reference).with_default_tag()
        if named.digest:
            raise InvalidRequest("cannot push a digest reference")
        report = progress or _ignore
        report(Progress(f"The push refers to repository [{named.name}]"))
        stored = self._files.index.tagged(named)
        outgoing = Outgoing(
            manifest=(self._files.blobs / (stored.source or stored.manifest)).read_bytes(),
            is_original=bool(stored.source),
            config=(self._files.blobs / stored.image.id.removeprefix("sha256:")).read_bytes(),
            diff_ids=stored.image.layers,
            siblings=_siblings(stored.image, named),
        )
        with self._files.workspace() as work, self._files.holding() as hold:
            hold(stored.blobs)
            result = await self._remote.push(
                named, outgoing, auth=auth, blobs=self._files.blobs, work=work, report=report
            )
        if stored.image.id in self._files.index.images:
            current = self._files.index.images[stored.image.id]
            self._files.save_index(
                self._files.index.add(current, [], [f"{named.familiar_name}@{result.digest}"])
            )
        return result

    async def load(
        self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback | None = None
    ) -> tuple[str, ...]:
        """Take in an archive's images."""
        report = progress or _ignore
        with self._files.workspace() as work:
            if isinstance(archive, Path):
                source = archive
            else:
                source = work / "archive"
                await archives.spool(archive, source)
            source = await self._without_zstd(source, work)
            kind = await asyncio.to_thread(archives.kind_of_archive, source)
            names: _Names = []
            if kind is archives.ArchiveKind.DOCKER:
                blobs = work / "blobs"
                images = await asyncio.to_thread(archives.extract_docker_images, source, blobs)
                for image in images:
                    names += await self._load_one(blobs, image.manifest, image.tags, report)
                index = self._files.index
                for image in images:
                    if image.parent:
                        config = oci.parse_manifest(image.manifest).config
                        index = index.link(ImageId(config.digest), image.parent)
                if index is not self._files.index:
                    self._files.save_index(index)
            else:
                layout = source
                if kind is archives.ArchiveKind.OCI:
                    layout = work / "layout"
                    await asyncio.to_thread(archives.extract_layout, source, layout)
                blobs = layout / "blobs" / "sha256"
                entries = archives.layout_images(layout, self._architecture)
                if not entries:
                    raise InvalidRequest("the archive holds no image for this platform")
                for text, tags in entries:
                    names += await self._load_one(blobs, text, tags, report, is_source=True)
        return tuple(names)

    async def _without_zstd(self, source: Path, work: Path) -> Path:
        """Return an archive that Python's tarfile can read."""
        if source.is_dir() or await asyncio.to_thread(archives.compression_of, source) != "zstd":
            return source
        target = work / "archive.tar"
        await asyncio.to_thread(archives.decompress, source, target)
        return target

    async def _load_one(
        self,
        blobs: Path,
        text: bytes,
        tags: tuple[str, ...],
        report: ProgressCallback,
        *,
        is_source: bool = False,
    ) -> tuple[str, ...]:
        manifest = oci.parse_manifest(text)
        known = {layer for stored in self._files.index.all().values() for layer in stored.image.layers}
        layers = oci.parse_image((blobs / manifest.config.hex).read_bytes(), []).layers
        for layer, blob in zip(layers, manifest.layers, strict=False):
            if layer not in known:
                size = (blobs / blob.hex).stat().st_size
                report(Progress("Loading layer", short(layer), size, size))
        stored = await self._files.take_in(blobs, text, list(tags), [], is_source=is_source)
        if not tags:
            report(Progress(stream=f"Loaded image ID: {stored.image.id}\n"))
            return (stored.image.id,)
        for tag in tags:
            report(Progress(stream=f"Loaded image: {tag}\n"))
        return tags

    async def import_tar(
        self,
        archive: AsyncIterable[bytes] | Path,
        reference: str = "",
        changes: tuple[str, ...] = (),
        message: str = "",
    ) -> ImageId:
        """Make an image of a root file system."""
        tags = [parse_reference(reference).with_default_tag().familiar] if reference else []
        config = oci.apply_changes(ImageConfig(), changes)
        with self._files.workspace() as work:
            given = work / "given"
            if isinstance(archive, Path):
                given = archive
            else:
                await archives.spool(archive, given)
            blobs = work / "blobs"
            blobs.mkdir()
            layer = await asyncio.to_thread(archives.make_layer, given, blobs)
            now = datetime.now(UTC)
            new = oci.NewImage(
                architecture=self._architecture,
                diff_id=layer.digest,
                created=now,
                comment=message or "Imported from -",
                config=config,
                builder=__version__,
            )
            manifest = _write_configuration(blobs, new, [layer])
            stored = await self._files.take_in(blobs, manifest, tags, [], tagged_at=now if tags else None)
        return stored.image.id

    async def commit(self, layer: AsyncIterable[bytes], request: CommitRequest) -> ImageId:
        """Make an image of another and a layer over it."""
        tags = [parse_reference(request.reference).with_default_tag().familiar] if request.reference else []
        base = self._files.index.all().get(request.base)
        if base is None:
            raise NotFound(f"No such image: {request.base}")
        ours = self._files.blobs
        below = oci.parse_manifest((ours / base.manifest).read_bytes())
        with self._files.workspace() as work, self._files.holding() as hold:
            hold(base.blobs)
            blobs = work / "blobs"
            blobs.mkdir()
            await archives.spool(layer, work / "given")
            made = await asyncio.to_thread(archives.make_layer, work / "given", blobs)
            is_empty = await asyncio.to_thread(archives.is_empty_layer, blobs / made.hex)
            layers = [*below.layers, *([] if is_empty else [made])]
            for blob in below.layers:
                link_or_copy(ours / blob.hex, blobs / blob.hex)
            now = datetime.now(UTC)
            new = oci.NewImage(
                architecture=self._architecture,
                diff_id="" if is_empty else made.digest,
                created=now,
                comment=request.comment,
                author=request.author,
                created_by=" ".join(request.container_config.cmd or ()),
                config=request.config,
                container=request.container_id,
                container_config=request.container_config,
                base=(ours / below.config.hex).read_bytes(),
                builder=__version__,
            )
            manifest = _write_configuration(blobs, new, layers)
            stored = await self._files.take_in(
                blobs, manifest, tags, [], parent=request.base, tagged_at=now if tags else None
            )
        return stored.image.id

    async def import_url(
        self,
        url: str,
        reference: str = "",
        changes: tuple[str, ...] = (),
        message: str = "",
        progress: ProgressCallback | None = None,
    ) -> ImageId:
        """Make an image of what a URL gives."""
        if reference:
            parse_reference(reference)
        oci.apply_changes(ImageConfig(), changes)  # Before the download: it may be long.
        with self._files.workspace() as work:
            target = work / "download"
            source = await fetch_archive(url, target, progress or _ignore)
            return await self.import_tar(target, reference, changes, message or f"Imported from {source}")

    # --- giving out

    async def save(self, references: tuple[str, ...]) -> AsyncGenerator[bytes, None]:
        """Yield a docker-archive."""
        wanted: dict[ImageId, set[str]] = {}
        for reference in references:
            try:
                image = self._files.index.find(reference).image
            except NotFound as error:
                raise NotFound(f"No such image: {reference}") from error
            tags = wanted.setdefault(image.id, set())
            with contextlib.suppress(InvalidRequest):
                familiar = parse_reference(reference).with_default_tag().familiar
                tags |= {familiar} & set(image.repo_tags)
        entries = [
            archives.SavedImage(
                config=image_id.removeprefix("sha256:"),
                layers=tuple(self._layers_of(image_id)),
                tags=tuple(sorted(tags)),
                parent=parent
                if (parent := self._files.index.images[image_id].image.parent) in wanted
                else "",
            )
            for image_id, tags in wanted.items()
        ]
        with self._files.workspace() as work:
            target = work / "archive.tar"
            await asyncio.to_thread(archives.write_docker_archive, target, self._files.blobs, entries)
            with open(target, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, 1 << 20):
                    yield chunk

    def _layers_of(self, image_id: ImageId) -> _Pairs:
        """Return (blob, diff id), both in hex, of each layer."""
        stored = self._files.index.images[image_id]
        manifest = oci.parse_manifest((self._files.blobs / stored.manifest).read_bytes())
        return [
            (layer.hex, diff_id.removeprefix("sha256:"))
            for layer, diff_id in zip(manifest.layers, stored.image.layers, strict=True)
        ]

    # --- names and removal

    async def tag(self, reference: str, target: str) -> None:
        """Give an image a further name."""
        named = parse_reference(target)
        if named.digest:
            raise InvalidRequest("refusing to create a tag with a digest reference")
        image_id = self._files.index.find(reference).image.id
        name = named.with_default_tag().familiar
        self._files.save_index(self._files.index.tag(image_id, name, datetime.now(UTC)))

    async def remove(
        self, reference: str, *, force: bool = False, users: Collection[ImageUser] = ()
    ) -> tuple[ImageRemoval, ...]:
        """Remove a name or an image."""
        plan = plan_removal(self._files.index, reference, force=force, users=users)
        self._files.save_index(plan.index)
        if plan.deleted is not None:
            await asyncio.to_thread(self._files.sweep_image, plan.deleted)
        await self._files.sweep_orphans({user.image_id for user in users})
        return plan.report

    async def prune(
        self, images: Collection[Image], *, used: Collection[ImageId]
    ) -> tuple[tuple[ImageRemoval, ...], int]:
        """Delete images that nobody uses."""
        report: tuple[ImageRemoval, ...] = ()
        gained = 0
        for image in images:
            stored = self._files.index.images.get(image.id)
            # It may have got a name since it was chosen.
            if stored is None or image.id in used or stored.image.repo_tags != image.repo_tags:
                continue
            plan = plan_removal(self._files.index, image.id, force=True, users=())
            self._files.save_index(plan.index)
            await asyncio.to_thread(self._files.sweep_image, image.id)
            report += plan.report
            gained += image.size
        return report, gained + await self._files.sweep_orphans(used)

    # --- the disk

    def place(self, image_id: ImageId) -> Path:
        """Return where the unpacked files are."""
        return self._files.place(image_id)

    async def bytes_on_disk(self) -> int:
        """Add up what there is."""
        return await asyncio.to_thread(self._files.bytes_on_disk)


def _write_configuration(blobs: Path, new: oci.NewImage, layers: list[oci.Descriptor]) -> bytes:
    """Write a new image's configuration among the blobs; return its manifest."""
    text = oci.render_image(new)
    config = oci.Descriptor(oci.digest_of(text), len(text), oci.OCI_CONFIG)
    (blobs / config.hex).write_bytes(text)
    return oci.as_oci(oci.Manifest(config, layers))


def _ignore(_: Progress) -> None:
    return None


def _platform_of(image: Image) -> Platform:
    return Platform(image.architecture, image.os, image.variant)


def _siblings(image: Image, named: Reference) -> tuple[str, ...]:
    """Return the paths of other repositories of the same registry that the image is known to be in."""
    found = (parse_reference(name) for name in image.repo_digests)
    return tuple(
        sorted({item.path for item in found if item.domain == named.domain and item.path != named.path})
    )[:1]
