"""Which manifest of a registry's is meant: media types, platforms, and the choice from a list.

Pure. The words of the refusals are Docker's.
"""

import re

from ...model.errors import InvalidRequest, NotFound, Unsupported
from . import oci
from .image_store import Platform

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_SCHEMA_1 = re.compile(r"application/vnd\.docker\.distribution\.manifest\.v1\+(?:json|prettyjws)")

ACCEPT = ", ".join((DOCKER_MANIFEST, oci.DOCKER_LIST, oci.OCI_MANIFEST, oci.OCI_INDEX))
"""What a request for a manifest accepts."""

_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_SYSTEMS = {"linux", "windows", "darwin", "freebsd"}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm"}
_IMPLIED = {"arm64": "v8"}
"""Variants that go without saying."""


def parse_platform(text: str, architecture: str) -> Platform:
    """Read `os/arch[/variant]`, or one of the two alone; "" is this host's.

    Raises InvalidRequest in Docker's words.
    """
    if not text:
        return Platform(architecture, "linux")
    parts = text.split("/")
    for part in parts:
        if not _WORD.fullmatch(part):
            raise InvalidRequest(
                f'"{part}" is an invalid component of "{text}": platform specifier component must '
                'match "^[A-Za-z0-9_.-]+$": invalid argument'
            )
    if len(parts) > 3:
        raise InvalidRequest(f'"{text}": cannot parse platform specifier: invalid argument')
    if len(parts) == 1:
        word = parts[0].lower()
        return Platform(architecture, word) if word in _SYSTEMS else Platform(_architecture(word), "linux")
    variant = parts[2].lower() if len(parts) == 3 else ""
    return Platform(_architecture(parts[1].lower()), parts[0].lower(), variant)


def _architecture(word: str) -> str:
    return _ALIASES.get(word, word)


def platform_text(platform: Platform) -> str:
    """Return `linux/arm64/v8`."""
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


def platform_of(descriptor: oci.Descriptor) -> Platform:
    """Return the platform of an entry of a list."""
    found = descriptor.platform
    features = found.get("os.features")
    return Platform(
        str(found.get("architecture", "")),
        str(found.get("os", "")),
        str(found.get("variant", "")),
        str(found.get("os.version", "")),
        tuple(map(str, features)) if isinstance(features, list) else (),
    )


def is_list(media_type: str) -> bool:
    """True for a manifest list or an OCI index."""
    return media_type in (oci.OCI_INDEX, oci.DOCKER_LIST)


def matches(platform: Platform, wanted: Platform) -> bool:
    """True if an image of `platform` is one for `wanted`."""
    if (platform.os, platform.architecture) != (wanted.os, wanted.architecture):
        return False
    implied = _IMPLIED.get(wanted.architecture, "")
    return not wanted.variant or (platform.variant or implied) == wanted.variant


def choose(index: oci.Index, wanted: Platform) -> oci.Descriptor:
    """Return the entry of a list that fits best. Raises NotFound in Docker's words."""
    fitting = [entry for entry in index.manifests if matches(platform_of(entry), wanted)]
    if not fitting:
        raise NotFound(f"no matching manifest for {platform_text(wanted)} in the manifest list entries")
    implied = _IMPLIED.get(wanted.architecture, "")
    # Several variants (arm, amd64/v3): the plain one runs everywhere.
    plain = [entry for entry in fitting if platform_of(entry).variant in ("", wanted.variant, implied)]
    return (plain or fitting)[0]


def media_type_of(text: bytes, header: str) -> str:
    """Return a manifest's media type: its own word before the header's. Raises Unsupported for
    schema 1 and for what is no image."""
    told = oci.read_kind(text)
    if told.schema_version == 1 or _SCHEMA_1.match(header):
        raise Unsupported(
            "Docker Image manifest version 2, schema 1 is not supported",
            remedy="the image's publisher must push it with a newer tool (Docker 1.10 and later)",
        )
    if told.media_type:
        return told.media_type
    plain = header.partition(";")[0].strip()
    if plain in (DOCKER_MANIFEST, oci.DOCKER_LIST, oci.OCI_MANIFEST, oci.OCI_INDEX):
        return plain
    return oci.OCI_INDEX if told.manifests else oci.OCI_MANIFEST


def check_image(manifest: oci.Manifest) -> None:
    """Raise Unsupported for an artifact that is no container image, such as a Helm chart."""
    media_type = manifest.config.media_type
    if media_type and media_type not in (DOCKER_CONFIG, oci.OCI_CONFIG, "application/octet-stream"):
        raise Unsupported(f'unsupported media type "{media_type}": this is no container image')
