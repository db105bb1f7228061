"""Names of images, in Docker's spelling: `[registry/]repository[:tag][@digest]`."""

from __future__ import annotations

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_MAX_NAME = 255
_MAX_TAG = 128


def _is_domain(text: str) -> bool:
    """Say whether it is `host[:port]`: labels with dots between them, or an address in brackets."""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        host_is_good = bool(bracket and address) and _HEX.union(":").issuperset(address)
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(":")
        host_is_good = all(
            label
            and not label.startswith("-")
            and not label.endswith("-")
            and _LETTERS.union("-") >= {*label}
            for label in host.split(".")
        )
    port_is_good = port.isascii() and port.isdigit() if colon == ":" else not colon
    return host_is_good and port_is_good


def _is_path(text: str) -> bool:
    return all(_is_component(component) for component in text.split("/"))


def _is_component(text: str) -> bool:
    """Say whether it is small letters and digits, with `.`, `_`, `__` or any dashes in between."""
    if not text or text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    separators = "".join("/" if character in _LOWER else character for character in text).split("/")
    return all(run in ("", ".", "_", "__") or not run.strip("-") for run in separators)


def _is_tag(text: str) -> bool:
    allowed = _LETTERS.union("_.-")
    return 0 < len(text) <= _MAX_TAG and text[0] not in ".-" and allowed.issuperset(text)


def _is_digest(text: str) -> bool:
    import re

    pattern = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
    return re.fullmatch(pattern, text) is not None


def _is_id(text: str) -> bool:
    return len(text) == 64 and frozenset("0123456789abcdef").issuperset(text)


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
    if at and not _is_digest(digest):
        raise ValueError("invalid reference format")
    tag = ""
    last = rest.rpartition("/")[2]
    if ":" in last:
        rest, _, tag = rest.rpartition(":")
        if not _is_tag(tag):
            raise ValueError("invalid reference format")
    if _is_id(rest):
        raise ValueError(f"invalid repository name ({rest}), cannot specify 64-byte hexadecimal strings")
    name = ImageName(rest, tag, digest)
    domain, _, path = name.full_repository().partition("/")
    if path.lower() != path:
        raise ValueError(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _is_domain(domain) or not _is_path(path):
        raise ValueError("invalid reference format")
    if len(path) > _MAX_NAME:
        raise ValueError(f"repository name must not be more than {_MAX_NAME} characters")
    return name
