"""What the image store has on the disk: blobs, unpacked files and an index below one directory.

    index.json          what there is and what it is called; held in memory too
    blobs/sha256/HEX    manifests, configurations and layers, shared among images
    unpacked/HEX/       an image's files, the lower layer of its containers
    work/               half-done work; cleared at the start
    incoming/           blobs half fetched; cleared at the start too

Everything is made aside and renamed into place, the index last, so a killed daemon leaves either the
whole of an image or none of it; blobs without an image are swept at the start. An image on its way
into the index holds its blobs, so that a removal meanwhile does not sweep them.
"""

import asyncio
import contextlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec

from ...model.errors import Failed, NotFound, Unsupported
from ...model.ids import ImageId, short
from . import archives, oci
from .blobs import delete, link_or_copy, rename_new, write_whole
from .extraction import Extraction, make_layout, unpack
from .image_store import ProgressCallback
from .imageindex import ImageIndex, StoredImage
from .rootfs import tree_size

_Names = list[str]


class ImageFiles:
    """The directory `root`. `index` is what `index.json` holds."""

    def __init__(self, root: Path, *, umoci: str) -> None:
        self.root = root
        self.index = ImageIndex()
        self._umoci = umoci
        self._unpacking: dict[ImageId, asyncio.Lock] = {}
        self._held: Counter[str] = Counter()

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @property
    def _unpacked(self) -> Path:
        return self.root / "unpacked"

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        directory = self.root / "work" / secrets.token_hex(8)
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            delete(directory)

    async def open(self) -> None:
        """Read the index, clear half-done work, sweep what no image needs."""
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        for directory in (self.blobs, self._unpacked):
            directory.mkdir(parents=True, exist_ok=True)
        delete(self.root / "work")
        delete(self.root / "incoming")
        try:
            text = (self.root / "index.json").read_bytes()
        except FileNotFoundError:
            return
        self.index = msgspec.json.decode(text, type=ImageIndex)
        self._sweep()

    def _sweep(self) -> None:
        needed = self.index.blobs()
        for blob in self.blobs.iterdir():
            if blob.name not in needed:
                blob.unlink(missing_ok=True)
        kept = {image_id.removeprefix("sha256:") for image_id in self.index.all()}
        for directory in self._unpacked.iterdir():
            if directory.name not in kept:
                delete(directory)

    def save_index(self, index: ImageIndex) -> None:
        unfinished = self.root / "index.json.new"
        with open(unfinished, "wb") as file:
            file.write(msgspec.json.encode(index))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.root / "index.json")
        self.index = index

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[Collection[str]], None]]:
        """Give a function that keeps blobs from being swept until the end of the block."""
        held: Counter[str] = Counter()

        def hold(names: Collection[str]) -> None:
            held.update(names)
            self._held.update(names)

        try:
            yield hold
        finally:
            self._held -= held

    async def take_in(
        self,
        blobs: Path,
        text: bytes,
        tags: _Names,
        digests: _Names,
        report: ProgressCallback | None = None,
        *,
        layers: tuple[str, ...] = (),
        is_source: bool = False,
        parent: str = "",
        tagged_at: datetime | None = None,
    ) -> StoredImage:
        """Move an image's blobs to ours, unpack it, and write it into the index.

        `layers` are those whose extraction is told. With `is_source` the manifest is kept as it is,
        for a push. `parent` is the image that this one was made from here, `tagged_at` now if somebody
        here has chosen the tags.
        """
        manifest = oci.parse_manifest(text)
        config = (blobs / manifest.config.hex).read_bytes()
        if oci.digest_of(config) != manifest.config.digest:
            raise Failed(f"the image's configuration is not what its digest says: {manifest.config.digest}")
        with self.holding() as hold:
            hold([manifest.config.hex, *(layer.hex for layer in manifest.layers)])
            sizes = await asyncio.to_thread(
                lambda: [archives.uncompressed_size(blobs / layer.hex) for layer in manifest.layers]
            )
            image = oci.parse_image(config, sizes)
            if image.os != "linux":
                raise Unsupported(
                    f'image operating system "{image.os}" cannot be used on this platform: '
                    "operating system is not supported"
                )
            if len(image.layers) != len(manifest.layers):
                raise Failed(
                    f"the image's configuration names {len(image.layers)} layers, "
                    f"its manifest {len(manifest.layers)}"
                )
            converted = oci.as_oci(await asyncio.to_thread(archives.name_compression, manifest, blobs))
            needed = [manifest.config.hex, *(layer.hex for layer in manifest.layers)]
            kept = {oci.digest_of(converted).removeprefix("sha256:"): converted}
            manifest_hex, source = next(iter(kept)), ""
            if is_source:
                source = oci.digest_of(text).removeprefix("sha256:")
                kept[source] = text
            hold(kept.keys())
            if blobs != self.blobs:
                for name in needed:
                    link_or_copy(blobs / name, self.blobs / name)
            for name, content in kept.items():
                write_whole(self.blobs / name, content)
            stored = StoredImage(image, manifest_hex, (*kept, *needed), source)
            directory = await self._unpack(stored, layers, report or (lambda _: None))
            size = await asyncio.to_thread(tree_size, directory)
            stored = replace(stored, image=replace(image, size=size, parent=parent))
            # Others may have changed the index while we worked: add to what it is now.
            self.save_index(self.index.add(stored, tags, digests, tagged_at))
            return self.index.images[image.id]

    def bytes_on_disk(self) -> int:
        """Return the size of all blobs and all unpacked files, orphans' too. Blocks for a moment."""
        unpacked = sum(stored.image.size for stored in self.index.all().values())
        return unpacked + sum(blob.stat().st_size for blob in self.blobs.iterdir())

    # --- unpacked files

    def place(self, image_id: ImageId) -> Path:
        """Return where an image's files are unpacked, or would be."""
        return self._unpacked / image_id.removeprefix("sha256:")

    async def lower_dir(self, image_id: ImageId) -> Path:
        """Return the unpacked files; they are there already but for a directory that was lost."""
        directory = self.place(image_id)
        if directory.is_dir():
            return directory
        stored = self.index.all().get(image_id)
        if stored is None:
            raise NotFound(f"No such image: {image_id}")
        return await self._unpack(stored)

    async def _unpack(
        self,
        stored: StoredImage,
        layers: Collection[str] = (),
        report: ProgressCallback = lambda _: None,
    ) -> Path:
        image_id = stored.image.id
        directory = self.place(image_id)
        lock = self._unpacking.setdefault(image_id, asyncio.Lock())
        async with lock:
            shown = Extraction(layers, report)
            if directory.is_dir():
                shown.finish()
                return directory
            with self.workspace() as work:
                layout, target = work / "layout", work / "files"
                renamed = await asyncio.to_thread(make_layout, stored, self.blobs, layout)
                try:
                    await unpack(self._umoci, layout, target, shown, renamed)
                except Failed as error:
                    raise Failed(f"cannot unpack image {short(image_id)}: {error.message}") from error
                # A second daemon on the same store may have been quicker; both made the same.
                with contextlib.suppress(FileExistsError):
                    rename_new(target, directory)
        self._unpacking.pop(image_id, None)
        return directory

    async def sweep_orphans(self, used: Collection[ImageId]) -> int:
        """Delete the files of orphans that nobody uses any more; return the bytes gained."""
        doomed = [stored.image for key, stored in self.index.orphans.items() if key not in used]
        if doomed:
            self.save_index(self.index.without_orphans(used))
            for image in doomed:
                await asyncio.to_thread(self.sweep_image, image.id)
        return sum(image.size for image in doomed)

    def sweep_image(self, image_id: ImageId) -> None:
        doomed = self.root / "work" / secrets.token_hex(8)
        doomed.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            # Away first: a half-deleted directory must not pass for an unpacked image.
            self.place(image_id).rename(doomed)
        delete(doomed)
        needed = self.index.blobs() | self._held.keys()
        for blob in self.blobs.iterdir():
            # Those with a dot are being written.
            if blob.name not in needed and not blob.name.startswith("."):
                blob.unlink(missing_ok=True)
