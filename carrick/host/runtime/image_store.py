"""What the image store offers to the engine: `ImageStore`, with its values.

The real one is `LocalImageStore`; `carrick.testing.fake_runtime` has a fake with the same behaviour.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...model.containers import (
    Image,
    ImageConfig,
    ImageHistory,
)
from ...model.ids import ContainerId, ImageId


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of progress, in the words Docker streams: `{"status","id","progressDetail"}`.

    `total` of 0 means that the end is not known; both 0, that there is no detail.
    `stream` is the text that `load` prints instead of a status. A heading has an id, a tag, and is
    not about anything that makes progress.
    """

    status: str = ""
    id: str = ""
    current: int = 0
    total: int = 0
    stream: str = ""
    is_heading: bool = False


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Who we are to a registry: a name and password, or a token of one kind or the other.

    The secrets are not in its `repr`, which ends up in logs."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push made of one tag: its manifest's digest and size in bytes."""

    tag: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on, in Go's words."""

    architecture: str
    os: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """A manifest in a registry, and the platforms there are of it."""

    media_type: str
    digest: str
    size: int
    platforms: tuple[Platform, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A repository that a search found."""

    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False
    is_automated: bool = False


@dataclass(frozen=True, slots=True)
class ImageUser:
    """A container that uses an image, for the refusal to remove it."""

    container_id: ContainerId
    image_id: ImageId
    is_running: bool


@dataclass(frozen=True, slots=True)
class ImageRemoval:
    """What a removal did, in its order: exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """An image to be made of a container. `config` is what the image says, `container_config` what the
    container's was; `base` is the image under the container, which may have been deleted since."""

    base: ImageId
    container_id: ContainerId
    config: ImageConfig
    container_config: ImageConfig
    reference: str = ""
    author: str = ""
    comment: str = ""


class ImageStore(Protocol):
    """Images on this host. A reference is a name, a name with digest, an id or a prefix of one."""

    async def open(self) -> None:
        """Read the index and clear what a killed daemon left half done."""
        ...

    async def pull(
        self,
        reference: str,
        progress: ProgressCallback | None = None,
        *,
        platform: str = "",
        auth: RegistryAuth | None = None,
    ) -> Image:
        """Fetch an image from its registry; plain HTTP is tried with loopback registries, and those
        that the configuration calls insecure. Cancelled, it leaves nothing."""
        ...

    async def remote_tags(self, repository: str, auth: RegistryAuth | None = None) -> tuple[str, ...]:
        """Return the tags that a repository has in its registry."""
        ...

    async def push(
        self,
        reference: str,
        progress: ProgressCallback | None = None,
        *,
        auth: RegistryAuth | None = None,
    ) -> PushResult:
        """Send an image to the registry that its name says."""
        ...

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        """Return an identity token, or "". Denied if the registry refuses; `server` "" is Docker's hub."""
        ...

    async def remote(self, reference: str, auth: RegistryAuth | None = None) -> RemoteImage:
        """Look at an image in its registry."""
        ...

    async def search(
        self, term: str, *, limit: int = 25, auth: RegistryAuth | None = None
    ) -> tuple[SearchResult, ...]:
        """Search a registry, `HOST/term`, or Docker's hub."""
        ...

    async def import_url(
        self,
        url: str,
        reference: str = "",
        changes: tuple[str, ...] = (),
        message: str = "",
        progress: ProgressCallback | None = None,
    ) -> ImageId:
        """Make an image of a root file system's tar archive at an http or https URL."""
        ...

    async def load(
        self, archive: AsyncIterable[bytes] | Path, progress: ProgressCallback | None = None
    ) -> tuple[str, ...]:
        """Take in the images of a docker-archive, oci-archive or oci layout (tar or directory).

        Returns their names in the archive's order, ids for those without a name.
        """
        ...

    async def import_tar(
        self,
        archive: AsyncIterable[bytes] | Path,
        reference: str = "",
        changes: tuple[str, ...] = (),
        message: str = "",
    ) -> ImageId:
        """Make an image of a root file system's tar archive, with Dockerfile-like changes."""
        ...

    async def commit(self, layer: AsyncIterable[bytes], request: CommitRequest) -> ImageId:
        """Make an image of `request.base` and a layer over it (`Runtime.layer`), which may be empty."""
        ...

    def save(self, references: tuple[str, ...]) -> AsyncGenerator[bytes, None]:
        """Yield a docker-archive of the images. Unknown ones raise before the first byte."""
        ...

    async def tag(self, reference: str, target: str) -> None:
        """Give an image a further name; a name of another image moves here."""
        ...

    async def list(self) -> tuple[Image, ...]:
        """Return all images, the newest first."""
        ...

    async def get(self, reference: str) -> Image:
        """Look an image up. NotFound `No such image: X`; InvalidRequest if a prefix is ambiguous."""
        ...

    async def history(self, reference: str) -> tuple[ImageHistory, ...]:
        """Return the steps of an image's making, the last first."""
        ...

    async def remove(
        self, reference: str, *, force: bool = False, users: Collection[ImageUser] = ()
    ) -> tuple[ImageRemoval, ...]:
        """Take a name from an image and, with its last name, delete it. Conflict if it is used."""
        ...

    async def prune(
        self, images: Collection[Image], *, used: Collection[ImageId]
    ) -> tuple[tuple[ImageRemoval, ...], int]:
        """Delete these images, but for those that are `used` or have got other names meanwhile; returns
        what was deleted and the bytes gained."""
        ...

    def place(self, image_id: ImageId) -> Path:
        """Return where an image's unpacked files are, or would be."""
        ...

    async def bytes_on_disk(self) -> int:
        """Return the bytes that all images take."""
        ...

    async def lower_dir(self, image_id: ImageId) -> Path:
        """Return the unpacked files of an image, unpacking them if they are not."""
        ...
