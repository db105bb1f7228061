"""Names of images, as Docker reads and shows them (distribution/reference, "normalized" names).

Pure. `busybox` means docker.io/library/busybox:latest; what is shown is the short form again.
"""

import ipaddress
import re
from dataclasses import dataclass, replace

from ...model.errors import InvalidRequest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_HEX_64 = re.compile(r"[a-f0-9]{64}")
_ID = re.compile(r"(?:sha256:)?[a-f0-9]{1,64}")

_INVALID = "invalid reference format"


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalized name: `path` has the `library/` of official images."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The full repository name."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository name as people write it."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        official = self.path.removeprefix("library/")
        return official if "/" not in official else self.path

    @property
    def suffix(self) -> str:
        """Tag and digest, with their marks."""
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The whole reference as people write it."""
        return self.familiar_name + self.suffix

    def with_default_tag(self) -> "Reference":
        """Return it with `latest`, if it names neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    @property
    def is_loopback(self) -> bool:
        """True for a registry on this host, which is trusted without TLS as in Docker."""
        host = self.domain.rpartition(":")[0] if _has_port(self.domain) else self.domain
        return is_loopback_host(host.strip("[]"))


def is_loopback_host(name: str) -> bool:
    """True for `localhost` and for an address on loopback, without brackets."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _has_port(domain: str) -> bool:
    return bool(re.search(r":[0-9]+$", domain)) and not domain.endswith("]")


def parse_reference(text: str) -> Reference:
    """Read a name. Raises InvalidRequest in Docker's words."""
    if _HEX_64.fullmatch(text):
        raise InvalidRequest(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidRequest(_INVALID)
    domain, path = _split_domain(rest)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidRequest(_INVALID)
    if path != path.lower():
        raise InvalidRequest(f"{_INVALID}: repository name ({path}) must be lowercase")
    if not _PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain):
        raise InvalidRequest(_INVALID)
    if len(f"{domain}/{path}") > 255:
        raise InvalidRequest("repository name must not be more than 255 characters")
    return Reference(domain, path, tag, digest)


def _split_domain(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("/")
    domain, path = (first, rest) if has_domain(text) else (DEFAULT_DOMAIN, text)
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    return domain, path


def has_domain(text: str) -> bool:
    """True if a name's first part is a registry's host."""
    first, slash, _ = text.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def is_image_id(text: str) -> bool:
    """True if this may be an image's id or a prefix of one."""
    return bool(_ID.fullmatch(text))
