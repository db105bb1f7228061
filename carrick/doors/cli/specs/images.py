"""Names of images, in Docker's spelling: `[registry/]repository[:tag][@digest]`."""

import re

_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::\d+)?",
    re.ASCII,
)
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_NAME = 255


class ImageName:
    """A name taken apart. `repository` is as it was written; tag and digest may be empty."""

    __slots__ = ("digest", "repository", "tag")

    def __init__(self, repository: str, tag: str, digest: str) -> None:
        self.repository = repository
        self.tag = tag
        self.digest = digest

    def with_default_tag(self) -> str:
        """Return the name with `:latest` where it has neither tag nor digest."""
        if self.digest:
            tag = f":{self.tag}" if self.tag else ""
            return f"{self.repository}{tag}@{self.digest}"
        return f"{self.repository}:{self.tag or 'latest'}"

    def full_repository(self) -> str:
        """Return the repository with its registry: `docker.io/library/busybox`."""
        first, slash, _ = self.repository.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
            return self.repository
        return f"docker.io/{self.repository if slash else f'library/{self.repository}'}"


def parse_image(text: str) -> ImageName:
    """Take a name apart. Raises ValueError for what can be no image's name."""
    if not text:
        raise ValueError("invalid reference format")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError("invalid reference format")
    tag = ""
    last = rest.rpartition("/")[2]
    if ":" in last:
        rest, _, tag = rest.rpartition(":")
        if not _TAG.fullmatch(tag):
            raise ValueError("invalid reference format")
    if _IMAGE_ID.fullmatch(rest):
        raise ValueError(f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings")
    name = ImageName(rest, tag, digest)
    domain, _, path = name.full_repository().partition("/")
    if path.lower() != path:
        raise ValueError(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise ValueError("invalid reference format")
    if len(path) > _MAX_NAME:
        raise ValueError(f"repository name must not be more than {_MAX_NAME} characters")
    return name
