"""Pull: from a name to the manifest and blobs of an image, with Docker's progress and Docker's errors.

What is fetched lands among the store's blobs; the store unpacks it and writes it into its index.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

import msgspec

from ...model.errors import CarrickError, Failed, NotFound, Unsupported
from ...model.ids import short
from . import manifests, oci
from .downloads import BlobDownloads
from .image_store import Platform, Progress, ProgressCallback, RemoteImage
from .reference import Reference
from .registry import RegistryProblem, RegistrySession, read_document, repository_path

_TAGS_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest as a registry has it; `digest` is of these very bytes."""

    text: bytes
    digest: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image whose blobs are here. `digest` is of what was asked for, which may be a list."""

    digest: str
    manifest: bytes
    config: str
    layers: tuple[str, ...] = ()
    """The digests of the layers that were not here before."""


async def resolve(session: RegistrySession, named: Reference) -> str:
    """Return the digest behind a name, or "" if the registry does not tell it without the manifest.

    A HEAD, which registries do not count as a pull. What it refuses is left for the GET to explain,
    but for missing credentials.
    """
    if named.digest:
        return named.digest
    path = repository_path(named, "manifests", named.tag)
    async with session.request(
        "HEAD", path, headers={"Accept": manifests.ACCEPT}, accept=range(400, 600)
    ) as response:
        return response.headers.get("Docker-Content-Digest", "") if response.status == 200 else ""


async def fetch_manifest(session: RegistrySession, named: Reference, digest: str = "") -> Found:
    """Fetch a manifest or a list, by `digest` where one is known. Raises RegistryProblem."""
    wanted = digest or named.digest
    path = repository_path(named, "manifests", wanted or named.tag)
    text, headers = await session.fetch("GET", path, manifests.ACCEPT)
    found = oci.digest_of(text)
    if wanted.startswith("sha256:") and found != wanted:
        raise Failed(f"manifest verification failed for digest {wanted}")
    return Found(text, found, manifests.media_type_of(text, headers.get("Content-Type", "")))


async def pull(
    session: RegistrySession,
    named: Reference,
    *,
    digest: str,
    wanted: Platform,
    downloads: BlobDownloads,
    is_known: Callable[[str], bool],
    is_image: Callable[[str], bool],
    hold: Callable[[Collection[str]], None],
    report: ProgressCallback,
) -> Pulled:
    """Fetch an image. `is_known` says whether a blob (hex) is here, `is_image` whether an image is (by
    its configuration's digest), and `hold` keeps blobs from being swept.

    A plain manifest is taken whatever platform is wanted, as Docker does.
    """
    top = await fetch_manifest(session, named, digest)
    found = top
    report(Progress(f"Pulling from {named.path}", id=named.tag or named.familiar, is_heading=True))
    for _ in range(3):
        if not manifests.is_list(found.media_type):
            break
        entry = manifests.choose(oci.parse_index(found.text), wanted)
        found = await fetch_manifest(session, named, entry.digest)
    else:
        raise Unsupported(f"the manifest lists of {named.familiar} are nested too deeply")
    manifest = oci.parse_manifest(found.text)
    manifests.check_image(manifest)
    if is_image(manifest.config.digest):
        return Pulled(top.digest, found.text, manifest.config.digest)
    needed = {descriptor.hex: descriptor for descriptor in (*manifest.layers, manifest.config)}
    hold(needed.keys())
    missing = []
    for layer in dict.fromkeys(layer.digest for layer in manifest.layers):
        is_here = is_known(layer.removeprefix("sha256:"))
        report(Progress("Already exists" if is_here else "Pulling fs layer", id=short(layer)))
        if not is_here:
            missing.append(layer)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(
                _fetch_config(session, named, manifest.config, downloads, is_known), name="image config"
            )
            for layer in missing:
                descriptor = needed[layer.removeprefix("sha256:")]
                group.create_task(
                    downloads.fetch(session, named, descriptor, report), name=f"layer {short(layer)}"
                )
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    return Pulled(top.digest, found.text, manifest.config.digest, tuple(missing))


async def _fetch_config(
    session: RegistrySession,
    named: Reference,
    config: oci.Descriptor,
    downloads: BlobDownloads,
    is_known: Callable[[str], bool],
) -> None:
    if not is_known(config.hex):
        await downloads.fetch(session, named, config, _unseen)


def _unseen(_: Progress) -> None:
    """The configuration has no line of its own in a pull's display."""


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a group is about; cancellation before all."""
    leaves: list[BaseException] = []
    stack: list[BaseException] = [errors]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack += error.exceptions
        else:
            leaves.append(error)
    leaves.sort(key=lambda error: (isinstance(error, Exception), not isinstance(error, CarrickError)))
    return leaves[0]


async def list_tags(session: RegistrySession, named: Reference) -> tuple[str, ...]:
    """Return a repository's tags, sorted, over all pages."""
    path = repository_path(named, "tags", f"list?n={_TAGS_PER_PAGE}")
    tags: list[str] = []
    while path:
        async with session.request("GET", path) as response:
            text = await read_document(response)
            links = response.links
            path = str(links["next"]["url"]) if "next" in links else ""
        try:
            tags += msgspec.json.decode(text, type=_Tags).tags or []
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Failed(f"the registry's list of tags cannot be read: {error}") from error
    return tuple(sorted(set(tags)))


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


async def inspect(session: RegistrySession, named: Reference) -> RemoteImage:
    """Look at a manifest, and at the platforms that it is for."""
    found = await fetch_manifest(session, named, await resolve(session, named))
    if manifests.is_list(found.media_type):
        platforms = tuple(map(manifests.platform_of, oci.parse_index(found.text).manifests))
    else:
        manifest = oci.parse_manifest(found.text)
        text, _ = await session.fetch("GET", repository_path(named, "blobs", manifest.config.digest))
        if oci.digest_of(text) != manifest.config.digest:
            raise Failed(f"the image's configuration is not what its digest says: {manifest.config.digest}")
        image = oci.parse_image(text, [])
        platforms = (Platform(image.architecture, image.os, image.variant),)
    return RemoteImage(found.media_type, found.digest, len(found.text), platforms)


def pull_error(named: Reference, problem: RegistryProblem) -> CarrickError:
    """Return a registry's refusal to give an image, as Docker puts it."""
    match problem.code:
        case "MANIFEST_UNKNOWN":
            return NotFound(f"manifest for {named.familiar} not found: {problem.message}")
        case "NAME_UNKNOWN":
            return NotFound(f"repository {named.familiar_name} not found: {problem.message}")
        case "DENIED":
            return NotFound(
                f"pull access denied for {named.familiar_name}, repository does not exist or may "
                f"require 'docker login': {problem.message}"
            )
    if problem.status == 404 and not problem.code:
        return NotFound(f"manifest for {named.familiar} not found: manifest unknown: manifest unknown")
    return problem
