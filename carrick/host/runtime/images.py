"""The real `ImageStore`: blobs, unpacked files and an index below one directory.

    index.json          what there is and what it is called; held in memory too
    blobs/sha256/HEX    manifests, configurations and layers, shared among images
    unpacked/HEX/       an image's files, the lower layer of its containers
    work/               half-done work; cleared at the start

skopeo fetches and reads archives, umoci unpacks. Everything is made aside and renamed into place,
the index last, so a killed daemon leaves either the whole of an image or none of it; blobs without
an image are swept at the start. Looking an image up starts no program.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ...model.containers import Image, ImageConfig, ImageHistory
from ...model.errors import Failed, InvalidRequest, NotFound, Unavailable, Unsupported
from ...model.ids import ImageId, short
from . import archives, oci
from .api import ImageRemoval, ImageUser, Progress, ProgressCallback, RegistryAuth
from .imageindex import ImageIndex, StoredImage, plan_removal
from .processes import run
from .progress import PullProgress
from .reference import Reference, parse_reference
from .rootfs import tree_size
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
        skopeo: str = "skopeo",
        umoci: str = "umoci",
        machine: str | None = None,
    ) -> None:
        self._root = root
        self._skopeo = skopeo
        self._umoci = umoci
        self._architecture = go_architecture(machine or os.uname().machine)
        self._index = ImageIndex()
        self._unpacking: dict[ImageId, asyncio.Lock] = {}

    # --- paths

    @property
    def _blobs(self) -> Path:
        return self._root / "blobs" / "sha256"

    @property
    def _unpacked(self) -> Path:
        return self._root / "unpacked"

    @contextlib.contextmanager
    def _workspace(self) -> Iterator[Path]:
        directory = self._root / "work" / secrets.token_hex(8)
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            _delete(directory)

    async def open(self) -> None:
        """Read the index, clear half-done work, sweep what no image needs."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        for directory in (self._blobs, self._unpacked):
            directory.mkdir(parents=True, exist_ok=True)
        _delete(self._root / "work")
        try:
            text = (self._root / "index.json").read_bytes()
        except FileNotFoundError:
            return
        self._index = msgspec.json.decode(text, type=ImageIndex)
        self._sweep()

    def _sweep(self) -> None:
        needed = self._index.blobs()
        for blob in self._blobs.iterdir():
            if blob.name not in needed:
                blob.unlink(missing_ok=True)
        kept = {image_id.removeprefix("sha256:") for image_id in self._index.images}
        for directory in self._unpacked.iterdir():
            if directory.name not in kept:
                _delete(directory)

    def _save_index(self, index: ImageIndex) -> None:
        unfinished = self._root / "index.json.new"
        with open(unfinished, "wb") as file:
            file.write(msgspec.json.encode(index))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._root / "index.json")
        self._index = index

    # --- questions

    async def list(self) -> tuple[Image, ...]:
        """Return all images, the newest first."""
        images = [stored.image for stored in self._index.images.values()]
        return tuple(sorted(images, key=lambda image: (image.created or _EPOCH, image.id), reverse=True))

    async def get(self, reference: str) -> Image:
        """Look an image up."""
        return self._index.find(reference).image

    async def history(self, reference: str) -> tuple[ImageHistory, ...]:
        """Return the steps, the last first."""
        return tuple(reversed(self._index.find(reference).image.history))

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
        report = progress or _ignore
        repository = named.path if named.domain == "docker.io" else named.name
        report(Progress(f"Pulling from {repository}", id=named.tag or named.digest))
        with self._workspace() as work:
            target = work / "image"
            argv = [self._skopeo, "copy", "--retry-times", "1"]
            if named.is_loopback:
                argv.append("--src-tls-verify=false")
            if auth is not None:
                argv += ["--src-authfile", str(_write_auth(work, named, auth))]
            source = f"docker://{named.name}{'@' + named.digest if named.digest else ':' + named.tag}"
            flags = _platform_flags(platform, self._architecture)
            argv = [argv[0], *flags, *argv[1:], source, f"dir:{target}"]
            shown = PullProgress(target, report)
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(shown.watch(), name=f"progress of {named.familiar}")
                try:
                    completed = await run(argv, on_line=shown.on_line)
                finally:
                    watcher.cancel()
            if completed.returncode != 0:
                raise _pull_error(named, completed.error_text)
            shown.finish()
            text = (target / "manifest.json").read_bytes()
            digest = oci.digest_of(text)
            known = set(self._index.images)
            tags = [replace(named, digest="").familiar] if named.tag else []
            stored = await self._take_in(target, text, tags, [f"{named.familiar_name}@{digest}"])
        report(Progress(f"Digest: {digest}"))
        news = "Image is up to date for" if stored.image.id in known else "Downloaded newer image for"
        report(Progress(f"Status: {news} {named.familiar}"))
        return stored.image

    async def load(
        self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback | None = None
    ) -> tuple[str, ...]:
        """Take in an archive's images."""
        report = progress or _ignore
        with self._workspace() as work:
            if isinstance(archive, Path):
                source = archive
            else:
                source = work / "archive"
                await archives.spool(archive, source)
            found = await asyncio.to_thread(archives.inspect_archive, source)
            names: _Names = []
            if found.kind is archives.ArchiveKind.DOCKER:
                for number, tags in enumerate(found.names):
                    report(Progress("Loading image", id=tags[0] if tags else str(number)))
                    target = work / f"image{number}"
                    completed = await run(
                        [self._skopeo, "copy", f"docker-archive:{source}:@{number}", f"dir:{target}"]
                    )
                    if completed.returncode != 0:
                        raise InvalidRequest(f"cannot load the archive: {completed.error_text}")
                    text = (target / "manifest.json").read_bytes()
                    names += await self._load_one(target, text, tags, report)
            else:
                layout = source
                if found.kind is archives.ArchiveKind.OCI:
                    layout = work / "layout"
                    await asyncio.to_thread(archives.extract_layout, source, layout)
                blobs = layout / "blobs" / "sha256"
                entries = archives.layout_images(layout, self._architecture)
                if not entries:
                    raise InvalidRequest("the archive holds no image for this platform")
                for text, tags in entries:
                    names += await self._load_one(blobs, text, tags, report)
        return tuple(names)

    async def _load_one(
        self, blobs: Path, text: bytes, tags: tuple[str, ...], report: ProgressCallback
    ) -> tuple[str, ...]:
        stored = await self._take_in(blobs, text, list(tags), [], report)
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
        with self._workspace() as work:
            given = work / "given"
            if isinstance(archive, Path):
                given = archive
            else:
                await archives.spool(archive, given)
            blobs = work / "blobs"
            blobs.mkdir()
            layer = await asyncio.to_thread(archives.make_layer, given, blobs)
            text = oci.render_image(
                oci.NewImage(
                    architecture=self._architecture,
                    diff_id=layer.digest,
                    created=datetime.now(UTC),
                    comment=message or "Imported from -",
                    config=config,
                )
            )
            config_digest = oci.digest_of(text)
            (blobs / config_digest.removeprefix("sha256:")).write_bytes(text)
            manifest = oci.as_oci(
                oci.Manifest(oci.Descriptor(config_digest, len(text), oci.OCI_CONFIG), [layer])
            )
            stored = await self._take_in(blobs, manifest, tags, [])
        return stored.image.id

    async def _take_in(
        self,
        blobs: Path,
        text: bytes,
        tags: _Names,
        digests: _Names,
        report: ProgressCallback | None = None,
    ) -> StoredImage:
        """Move an image's blobs to ours, unpack it, and write it into the index."""
        manifest = oci.parse_manifest(text)
        config = (blobs / manifest.config.hex).read_bytes()
        if oci.digest_of(config) != manifest.config.digest:
            raise Failed(f"the image's configuration is not what its digest says: {manifest.config.digest}")
        sizes = await asyncio.to_thread(
            lambda: [archives.uncompressed_size(blobs / layer.hex) for layer in manifest.layers]
        )
        image = oci.parse_image(config, sizes)
        converted = oci.as_oci(await asyncio.to_thread(archives.name_compression, manifest, blobs))
        needed = [manifest.config.hex, *(layer.hex for layer in manifest.layers)]
        for name in needed:
            _link_or_copy(blobs / name, self._blobs / name)
        manifest_hex = oci.digest_of(converted).removeprefix("sha256:")
        _write_whole(self._blobs / manifest_hex, converted)
        stored = StoredImage(image, manifest_hex, (manifest_hex, *needed))
        if report is not None:
            report(Progress("Extracting", id=short(image.id)))
        directory = await self._unpack(stored)
        size = await asyncio.to_thread(tree_size, directory)
        stored = replace(stored, image=replace(image, size=size))
        # Others may have changed the index while we worked: add to what it is now.
        self._save_index(self._index.add(stored, tags, digests))
        return self._index.images[image.id]

    # --- unpacked files

    async def lower_dir(self, image_id: ImageId) -> Path:
        """Return the unpacked files; they are there already but for a directory that was lost."""
        directory = self._unpacked / image_id.removeprefix("sha256:")
        if directory.is_dir():
            return directory
        stored = self._index.images.get(image_id)
        if stored is None:
            raise NotFound(f"No such image: {image_id}")
        return await self._unpack(stored)

    async def _unpack(self, stored: StoredImage) -> Path:
        image_id = stored.image.id
        directory = self._unpacked / image_id.removeprefix("sha256:")
        lock = self._unpacking.setdefault(image_id, asyncio.Lock())
        async with lock:
            if directory.is_dir():
                return directory
            with self._workspace() as work:
                layout = work / "layout"
                blobs = layout / "blobs" / "sha256"
                blobs.mkdir(parents=True)
                for name in stored.blobs:
                    _link_or_copy(self._blobs / name, blobs / name)
                manifest = (self._blobs / stored.manifest).read_bytes()
                oci.write_layout(layout, manifest, "image")
                target = work / "files"
                completed = await run(
                    [self._umoci, "raw", "unpack", "--image", f"{layout}:image", str(target)]
                )
                if completed.returncode != 0:
                    raise Failed(f"cannot unpack image {short(image_id)}: {completed.error_text}")
                # A second daemon on the same store may have been quicker; both made the same.
                with contextlib.suppress(FileExistsError):
                    _rename_new(target, directory)
        self._unpacking.pop(image_id, None)
        return directory

    # --- giving out

    async def save(self, references: tuple[str, ...]) -> AsyncIterator[bytes]:
        """Yield a docker-archive."""
        wanted: dict[ImageId, set[str]] = {}
        for reference in references:
            image = self._index.find(reference).image
            tags = wanted.setdefault(image.id, set())
            with contextlib.suppress(InvalidRequest):
                familiar = parse_reference(reference).with_default_tag().familiar
                tags |= {familiar} & set(image.repo_tags)
        entries = [
            archives.SavedImage(
                config=image_id.removeprefix("sha256:"),
                layers=tuple(self._layers_of(image_id)),
                tags=tuple(sorted(tags)),
            )
            for image_id, tags in wanted.items()
        ]
        with self._workspace() as work:
            target = work / "archive.tar"
            await asyncio.to_thread(archives.write_docker_archive, target, self._blobs, entries)
            with open(target, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, 1 << 20):
                    yield chunk

    def _layers_of(self, image_id: ImageId) -> _Pairs:
        """Return (blob, diff id), both in hex, of each layer."""
        stored = self._index.images[image_id]
        manifest = oci.parse_manifest((self._blobs / stored.manifest).read_bytes())
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
        image_id = self._index.find(reference).image.id
        self._save_index(self._index.tag(image_id, named.with_default_tag().familiar))

    async def remove(
        self, reference: str, *, force: bool = False, users: Collection[ImageUser] = ()
    ) -> tuple[ImageRemoval, ...]:
        """Remove a name or an image."""
        plan = plan_removal(self._index, reference, force=force, users=users)
        self._save_index(plan.index)
        if plan.deleted is not None:
            await asyncio.to_thread(self._sweep_image, plan.deleted)
        return plan.report

    def _sweep_image(self, image_id: ImageId) -> None:
        doomed = self._root / "work" / secrets.token_hex(8)
        doomed.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # Away first: a half-deleted directory must not pass for an unpacked image.
            (self._unpacked / image_id.removeprefix("sha256:")).rename(doomed)
        _delete(doomed)
        needed = self._index.blobs()
        for blob in self._blobs.iterdir():
            if blob.name not in needed:
                blob.unlink(missing_ok=True)

    async def prune(
        self, *, all_unused: bool, used: Collection[ImageId]
    ) -> tuple[tuple[ImageRemoval, ...], int]:
        """Delete images that nobody uses."""
        report: tuple[ImageRemoval, ...] = ()
        gained = 0
        for image in await self.list():
            if image.id in used or (image.repo_tags and not all_unused):
                continue
            report += await self.remove(image.id, force=True)
            gained += image.size
        return report, gained


def _ignore(_: Progress) -> None:
    return None


def _platform_flags(platform: str, architecture: str) -> tuple[str, ...]:
    if not platform:
        return ("--override-os", "linux", "--override-arch", architecture)
    parts = platform.split("/")
    if len(parts) not in (2, 3) or parts[0] != "linux":
        raise InvalidRequest(f'"{platform}" is an invalid component of a platform')
    flags = ("--override-os", "linux", "--override-arch", parts[1])
    return flags + (("--override-variant", parts[2]) if len(parts) == 3 else ())


def _write_auth(work: Path, named: Reference, auth: RegistryAuth) -> Path:
    """Write the credentials where only we and skopeo read them: not on its command line."""
    import base64

    pair = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    entry = {"auth": pair}
    if auth.identity_token:
        entry["identitytoken"] = auth.identity_token
    file = work / "auth.json"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as out:
        out.write(msgspec.json.encode({"auths": {named.domain: entry}}))
    return file


def _pull_error(named: Reference, text: str) -> Exception:
    """Return the error for skopeo's words, in Docker's."""
    low = text.lower()
    if "manifest unknown" in low or "manifest_unknown" in low or "name unknown" in low:
        return NotFound(f"manifest for {named.familiar} not found: manifest unknown: manifest unknown")
    if "unauthorized" in low or "access to the resource is denied" in low:
        return NotFound(
            f"pull access denied for {named.familiar_name}, repository does not exist or may "
            "require 'docker login': denied: requested access to the resource is denied"
        )
    if "no image found in manifest list" in low or "no image found in image index" in low:
        return NotFound(
            f"no matching manifest for this platform in the manifest list entries of {named.familiar}"
        )
    if any(word in low for word in ("dial tcp", "timeout", "no such host", "connection refused")):
        return Unavailable(f"cannot pull {named.familiar}: {_cause(text)}")
    if "unsupported" in low and "schema" in low:
        return Unsupported(f"cannot pull {named.familiar}: {_cause(text)}")
    return Failed(f"cannot pull {named.familiar}: {_cause(text)}")


def _cause(text: str) -> str:
    """Return the message of skopeo's last log line without its frame."""
    line = text.splitlines()[-1] if text else "no reason given"
    _, found, message = line.partition('msg="')
    return message.rstrip('"').replace('\\"', '"') if found else line


def _link_or_copy(source: Path, target: Path) -> None:
    """Put a blob at `target`, whole or not at all."""
    if target.exists():
        return
    try:
        target.hardlink_to(source)
    except FileExistsError:
        return
    except OSError:
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        shutil.copyfile(source, unfinished)
        unfinished.rename(target)


def _write_whole(target: Path, data: bytes) -> None:
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    unfinished.write_bytes(data)
    unfinished.rename(target)


def _rename_new(source: Path, target: Path) -> None:
    """Rename a directory to a name that is free; FileExistsError if it is not any more."""
    try:
        source.rename(target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(target) from error
        raise


def _delete(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
