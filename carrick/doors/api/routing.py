"""Which handler a path and method belong to, and which API version the client speaks.

Paths come with and without a version (`/v1.43/containers/json`, `/containers/json`); without one the
newest is meant. Routes are grouped by their first segment, so that a look-up tries a few patterns.
"""

import enum
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...model.errors import InvalidRequest
from .errors import PageNotFound

if TYPE_CHECKING:
    from aiohttp import web

    from .call import Call

ApiVersion = tuple[int, ...]

MAX_VERSION: ApiVersion = (1, 48)
MIN_VERSION: ApiVersion = (1, 24)

_VERSIONED = re.compile(r"/v([0-9.]+)(/.*)", re.DOTALL)
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


class Kind(enum.Enum):
    """What becomes of a request whose client goes away, or when the daemon stops."""

    READ = "read"
    """Nobody is interested any more: cancelled."""
    CHANGE = "change"
    """Runs to its end, as half a change helps nobody; the daemon waits for it."""
    STREAM = "stream"
    """Endless by nature: cancelled, also as the first thing when the daemon stops."""


Handler = Callable[["Call"], Awaitable["web.StreamResponse"]]


@dataclass(frozen=True, slots=True)
class Route:
    """A path template, `/containers/{id}/json`; `{name:path}` also takes slashes."""

    method: str
    template: str
    handler: Handler
    kind: Kind = Kind.READ


@dataclass(frozen=True, slots=True)
class Target:
    """A request's path, taken apart."""

    route: Route
    version: ApiVersion
    parameters: dict[str, str]


def version_text(version: ApiVersion) -> str:
    """Return `1.48`."""
    return ".".join(str(part) for part in version)


class Router:
    """The table of routes; of several that match, the one that was given first."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._table: dict[str, list[tuple[re.Pattern[str], dict[str, Route]]]] = {}
        by_template: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = by_template.get(route.template)
            if methods is None:
                methods = by_template[route.template] = {}
                group = self._table.setdefault(_first_segment(route.template), [])
                group.append((_compile(route.template), methods))
            if route.method in methods:
                raise ValueError(f"two routes for {route.method} {route.template}")
            methods[route.method] = route

    def resolve(self, method: str, path: str) -> Target:
        """Find the route of a decoded path. Raises PageNotFound, InvalidRequest for the version."""
        version = MAX_VERSION
        if match := _VERSIONED.fullmatch(path):
            version, path = parse_version(match[1]), match[2]
        for pattern, methods in self._table.get(_first_segment(path), ()):
            if (route := methods.get(method)) and (match := pattern.fullmatch(path)):
                return Target(route, version, match.groupdict())
        raise PageNotFound


def parse_version(text: str) -> ApiVersion:
    """Return the client's version. Raises InvalidRequest, in Docker's words, outside of our range."""
    parts = text.split(".")
    # Ten digits are more than any version has, and keep int() out of trouble.
    if not all(part.isdigit() and len(part) < 10 for part in parts):
        raise PageNotFound
    version = tuple(int(part) for part in parts)
    if version < MIN_VERSION:
        raise InvalidRequest(
            f"client version {text} is too old. Minimum supported API version is "
            f"{version_text(MIN_VERSION)}, please upgrade your client to a newer version"
        )
    if version > MAX_VERSION:
        raise InvalidRequest(
            f"client version {text} is too new. Maximum supported API version is {version_text(MAX_VERSION)}"
        )
    return version


def _first_segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _compile(template: str) -> re.Pattern[str]:
    pattern, position = "", 0
    for match in _PARAMETER.finditer(template):
        pattern += re.escape(template[position : match.start()])
        pattern += f"(?P<{match[1]}>{'.+' if match[2] else '[^/]+'})"
        position = match.end()
    return re.compile(pattern + re.escape(template[position:]), re.DOTALL)
