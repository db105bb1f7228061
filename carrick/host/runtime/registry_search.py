"""Search a registry by the first version of its API, which Docker's hub still serves and others may."""

from urllib.parse import urlencode

import msgspec

from ...model.errors import Failed, InvalidRequest
from .image_store import RegistryAuth, SearchResult
from .reference import DEFAULT_DOMAIN, has_domain
from .registry import RegistryClient, RegistryProblem

_HUB_INDEX = "index.docker.io"


class _Entry(msgspec.Struct):
    name: str = ""
    description: str | None = ""
    star_count: int = 0
    is_official: bool = False
    is_automated: bool = False


class _Answer(msgspec.Struct):
    results: list[_Entry] | None = None


async def search(
    client: RegistryClient, term: str, *, limit: int, auth: RegistryAuth | None
) -> tuple[SearchResult, ...]:
    """Ask for repositories. `HOST/term` asks another registry than Docker's hub.

    Raises InvalidRequest, or RegistryProblem in Docker's words.
    """
    if not 1 <= limit <= 100:
        raise InvalidRequest(f"Limit {limit} is outside the range of [1, 100]")
    if "://" in term:
        raise InvalidRequest(f"invalid repository name: repository name ({term}) should not have a scheme")
    first, _, rest = term.partition("/")
    host, wanted = (first, rest) if has_domain(term) else (_HUB_INDEX, term)
    if host == DEFAULT_DOMAIN:
        host = _HUB_INDEX
    if host == _HUB_INDEX:
        # Official repositories are listed without their `library/`.
        wanted = wanted.removeprefix("library/")
    path = f"/v1/search?{urlencode({'q': wanted, 'n': limit})}"
    async with client.connect(host, auth) as session:
        try:
            text, _headers = await session.fetch("GET", path)
        except RegistryProblem as problem:
            if not problem.status:
                raise
            raise RegistryProblem(
                f"Unexpected status code {problem.status}", status=problem.status
            ) from problem
    return parse_results(text)[:limit]


def parse_results(text: bytes) -> tuple[SearchResult, ...]:
    """Read an answer."""
    try:
        found = msgspec.json.decode(text, type=_Answer).results or []
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Failed(f"the registry's search results cannot be read: {error}") from error
    return tuple(
        SearchResult(
            entry.name, entry.description or "", entry.star_count, entry.is_official, entry.is_automated
        )
        for entry in found
    )
