"""Image archives as files: what kind one is and what it holds, layers, and the one that `save` writes.

Everything here blocks and is called in a thread, but for `spool`.
"""

import asyncio
import bz2
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from ...model.errors import InvalidRequest
from . import oci
from .processes import spawn
from .reference import parse_reference

_BLOCK = 1 << 20
_MOST_LINKS = 16
"""How many links may lead one to the next."""
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class ArchiveKind(StrEnum):
    """What `load` was given."""

    DOCKER = "docker-archive"
    OCI = "oci-archive"
    LAYOUT = "oci layout"


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image for `save`: hex digests of its configuration and, per layer, (blob, diff id); and the
    id of the image that it was made from, if that is in the archive too."""

    config: str
    layers: tuple[tuple[str, str], ...]
    tags: tuple[str, ...]
    parent: str = ""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image of an archive: its manifest, its familiar names, and what it says that it was made from."""

    manifest: bytes
    tags: tuple[str, ...]
    parent: str = ""


class _DockerEntry(msgspec.Struct, rename="pascal"):
    config: str
    repo_tags: list[str] | None = None
    parent: str = ""
    layers: list[str] = msgspec.field(default_factory=list)


async def spool(stream: AsyncIterable[bytes], target: Path) -> None:
    """Write a stream into a file."""
    with open(target, "wb") as file:
        async for chunk in stream:
            await asyncio.to_thread(file.write, chunk)


def kind_of_archive(source: Path) -> ArchiveKind:
    """Look at what `load` was given. Raises InvalidRequest if it is no image archive."""
    if source.is_dir():
        if (source / "index.json").exists():
            return ArchiveKind.LAYOUT
        raise InvalidRequest(f"{source} is no OCI layout: it has no index.json")
    try:
        with tarfile.open(source, "r:*") as archive:
            names = {member.name.removeprefix("./") for member in archive}
    except (tarfile.TarError, EOFError, lzma.LZMAError, OSError) as error:
        raise InvalidRequest(f"this is no image archive: {error}") from error
    if "manifest.json" in names:
        return ArchiveKind.DOCKER
    if "index.json" in names:
        return ArchiveKind.OCI
    raise InvalidRequest(
        "this is no image archive: it has neither manifest.json nor index.json",
    )


def _familiar(tags: list[str]) -> tuple[str, ...]:
    return tuple(parse_reference(tag).with_default_tag().familiar for tag in tags)


def extract_layout(source: Path, target: Path) -> None:
    """Extract an OCI archive. The filter refuses entries that lead outside."""
    target.mkdir()
    with tarfile.open(source, "r:*") as archive:
        archive.extractall(target, filter="data")


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """A file of an archive, in the directory of blobs under its digest."""

    hex: str
    size: int


def extract_docker_images(source: Path, blobs: Path) -> list[FoundImage]:
    """Put a docker-archive's blobs into a directory; return its images.

    Docker writes a layer that images share once, and links to it for the others. Raises InvalidRequest
    for an archive that does not hold what it promises.
    """
    blobs.mkdir()
    files: dict[str, _Unpacked] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                name = posixpath.normpath(member.name)
                if member.isfile():
                    files[name] = _unpack_file(archive, member, blobs)
                elif member.issym():
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                elif member.islnk():
                    links[name] = posixpath.normpath(member.linkname)

        def find(name: str) -> _Unpacked:
            place = posixpath.normpath(name)
            for _ in range(_MOST_LINKS):
                if place in files:
                    return files[place]
                place = links.get(place, "")
            raise InvalidRequest(f"the archive names {name}, but does not hold it")

        text = (blobs / find("manifest.json").hex).read_bytes()
        entries = msgspec.json.decode(text, type=list[_DockerEntry])
    except (tarfile.TarError, EOFError, lzma.LZMAError, OSError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"this is no image archive: {error}") from error
    found = []
    for entry in entries:
        config = find(entry.config)
        layers = [find(name) for name in entry.layers]
        _check_layers(oci.parse_image((blobs / config.hex).read_bytes(), []).layers, layers, blobs)
        manifest = oci.Manifest(
            oci.Descriptor(f"sha256:{config.hex}", config.size),
            [oci.Descriptor(f"sha256:{layer.hex}", layer.size) for layer in layers],
        )
        found.append(FoundImage(oci.as_oci(manifest), _familiar(entry.repo_tags or []), entry.parent))
    return found


def _unpack_file(archive: tarfile.TarFile, member: tarfile.TarInfo, blobs: Path) -> _Unpacked:
    reader = archive.extractfile(member)
    assert reader is not None  # for what is a file
    digest = hashlib.sha256()
    unfinished = blobs / "file.new"
    with reader, open(unfinished, "wb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
    unfinished.rename(blobs / digest.hexdigest())
    return _Unpacked(digest.hexdigest(), member.size)


def _check_layers(expected: tuple[str, ...], layers: list[_Unpacked], blobs: Path) -> None:
    """Raise InvalidRequest if the layers are not those that the configuration names."""
    if len(expected) != len(layers):
        raise InvalidRequest(
            f"invalid manifest, layers length mismatch: expected {len(expected)}, got {len(layers)}"
        )
    for number, (wanted, layer) in enumerate(zip(expected, layers, strict=True)):
        if compression_of(blobs / layer.hex):
            continue  # What it is unpacked is seen when it is.
        if wanted != f"sha256:{layer.hex}":
            raise InvalidRequest(
                f'invalid diffID for layer {number}: expected "{wanted}", got "sha256:{layer.hex}"'
            )


def layout_images(layout: Path, architecture: str) -> list[tuple[bytes, tuple[str, ...]]]:
    """Return the manifest and the familiar names of each image in an OCI layout."""
    index = oci.parse_index((layout / "index.json").read_bytes())
    found: dict[str, tuple[bytes, list[str]]] = {}
    for descriptor in index.manifests:
        text = _resolve(layout, descriptor, architecture)
        if text is None:
            continue
        digest = oci.digest_of(text)
        name = descriptor.annotations.get(oci.CONTAINERD_NAME, "")
        reference = descriptor.annotations.get(oci.REF_NAME, "")
        # A bare tag (umoci writes it) names no repository; such an image comes without a name.
        if not name and (":" in reference or "/" in reference):
            name = reference
        found.setdefault(digest, (text, []))[1].extend([name] if name else [])
    return [(text, _familiar(names)) for text, names in found.values()]


def _resolve(layout: Path, descriptor: oci.Descriptor, architecture: str) -> bytes | None:
    """Follow an index in an index down to the manifest for this machine."""
    text = (layout / "blobs" / "sha256" / descriptor.hex).read_bytes()
    if oci.digest_of(text) != descriptor.digest:
        raise InvalidRequest(f"the blob {descriptor.digest} is not what its digest says")
    if descriptor.media_type not in (oci.OCI_INDEX, oci.DOCKER_LIST):
        return text
    for entry in oci.parse_index(text).manifests:
        if entry.platform.get("architecture", architecture) == architecture:
            return _resolve(layout, entry, architecture)
    return None


# --- layers ---------------------------------------------------------------------------------------


def compression_of(path: Path) -> str:
    """Return how a file is compressed: "", gzip, bzip2, xz or zstd."""
    with open(path, "rb") as file:
        head = file.read(6)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def open_uncompressed(path: Path) -> IO[bytes]:
    """Open a file for reading what is in it uncompressed."""
    match compression_of(path):
        case "gzip":
            return cast("IO[bytes]", gzip.open(path))
        case "bzip2":
            return bz2.open(path)
        case "xz":
            return lzma.open(path)
        case "zstd":
            return cast("IO[bytes]", io.BufferedReader(_ZstdReader(path), _BLOCK))
        case _:
            return open(path, "rb")


class _ZstdReader(io.RawIOBase):
    """What `zstd` makes of a file. Python learns zstd in 3.14."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        with open(path, "rb") as source:
            self._process = spawn(
                ["zstd", "--decompress", "--stdout", "--quiet"],
                stdin=source.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        assert self._process.stdout is not None
        view = memoryview(buffer)
        data = os.read(self._process.stdout.fileno(), len(view))
        view[: len(data)] = data
        if not data and not self.closed:
            assert self._process.stderr is not None
            words = self._process.stderr.read().decode(errors="replace").strip()
            if self._process.wait() != 0:
                raise OSError(f"zstd: {words or 'it failed'}")
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
        super().close()


def decompress(source: Path, target: Path) -> None:
    """Write a file uncompressed. Raises InvalidRequest if its compression is broken."""
    try:
        with open_uncompressed(source) as reader, open(target, "wb") as writer:
            shutil.copyfileobj(reader, writer, _BLOCK)
    except (EOFError, lzma.LZMAError, OSError) as error:
        raise InvalidRequest(f"{source.name} cannot be decompressed: {error}") from error


def digest_of_file(path: Path) -> str:
    """Return `sha256:…` of a file."""
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def make_layer(source: Path, blobs: Path) -> oci.Descriptor:
    """Make an uncompressed layer blob of a root file system's archive, checking that it is one."""
    unfinished = blobs / "layer.new"
    digest = hashlib.sha256()
    size = 0
    try:
        with open_uncompressed(source) as reader, open(unfinished, "wb") as writer:
            while block := reader.read(_BLOCK):
                digest.update(block)
                size += len(block)
                writer.write(block)
        with tarfile.open(unfinished, "r:") as archive:
            archive.next()
    except (tarfile.TarError, EOFError, lzma.LZMAError, OSError) as error:
        raise InvalidRequest(f"this is no tar archive: {error}") from error
    unfinished.rename(blobs / digest.hexdigest())
    return oci.Descriptor(f"sha256:{digest.hexdigest()}", size, oci.OCI_LAYER)


def is_empty_layer(blob: Path) -> bool:
    """Tell whether a layer holds nothing. It is uncompressed."""
    with tarfile.open(blob, "r:") as archive:
        return archive.next() is None


def name_compression(manifest: oci.Manifest, blobs: Path) -> oci.Manifest:
    """Return the manifest with layer types that say how the blobs really are compressed.

    Docker's archives hold plain layers, which the manifest made of them calls gzip all the same.
    """
    layers = []
    for layer in manifest.layers:
        suffix = compression_of(blobs / layer.hex)
        media_type = f"{oci.OCI_LAYER}+{suffix}" if suffix else oci.OCI_LAYER
        layers.append(oci.Descriptor(layer.digest, layer.size, media_type))
    return oci.Manifest(manifest.config, layers)


def uncompressed_size(blob: Path) -> int:
    """Return a layer's size uncompressed, as far as it can be told without reading it all."""
    kind = compression_of(blob)
    if kind == "zstd":
        with open_uncompressed(blob) as reader:
            return sum(iter(lambda: len(reader.read(_BLOCK)), 0))
    if kind != "gzip":
        return blob.stat().st_size
    with open(blob, "rb") as file:
        file.seek(-4, os.SEEK_END)
        # RFC 1952: the last four bytes are the size modulo 2^32.
        return int(struct.unpack("<I", file.read(4))[0])


# --- save -----------------------------------------------------------------------------------------


def write_docker_archive(target: Path, blobs: Path, images: list[SavedImage]) -> None:
    """Write a docker-archive: layers uncompressed and once each, configurations, manifest.json."""
    written: set[str] = set()
    manifest = []
    with tarfile.open(target, "w") as archive:
        for image in images:
            for blob, diff_id in image.layers:
                if diff_id not in written:
                    written.add(diff_id)
                    _add_layer(archive, blobs / blob, f"{diff_id}.tar")
            if image.config not in written:
                written.add(image.config)
                _add_bytes(archive, f"{image.config}.json", (blobs / image.config).read_bytes())
            entry: dict[str, object] = {
                "Config": f"{image.config}.json",
                "RepoTags": list(image.tags) or None,
                "Layers": [f"{diff_id}.tar" for _, diff_id in image.layers],
            }
            manifest.append(entry | ({"Parent": image.parent} if image.parent else {}))
        _add_bytes(archive, "manifest.json", msgspec.json.encode(manifest))


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(data))


def _add_layer(archive: tarfile.TarFile, blob: Path, name: str) -> None:
    with tempfile.TemporaryFile(dir=blob.parent.parent) as plain, open_uncompressed(blob) as reader:
        shutil.copyfileobj(reader, plain, _BLOCK)
        member = tarfile.TarInfo(name)
        member.size = plain.tell()
        member.mode = 0o644
        plain.seek(0)
        archive.addfile(member, plain)
