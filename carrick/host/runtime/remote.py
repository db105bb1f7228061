"""What the image store asks of registries, but for the pull: a conversation for each question."""

import contextlib
from pathlib import Path

from ...model.errors import Denied, NotFound
from . import pulling, registry_search
from .image_store import ProgressCallback, PushResult, RegistryAuth, RemoteImage, SearchResult
from .pushing import Outgoing, Push
from .reference import Reference, parse_reference
from .registry import (
    RegistryClient,
    RegistryProblem,
    RegistrySession,
    login_host,
    registry_host,
    scope,
)


class RemoteImages:
    """Images as registries have them."""

    def __init__(self, client: RegistryClient, retry_delays_s: tuple[float, ...]) -> None:
        self._client = client
        self._retry_delays_s = retry_delays_s

    def connect(
        self, named: Reference, auth: RegistryAuth | None, *scopes: str
    ) -> contextlib.AbstractAsyncContextManager[RegistrySession]:
        """Open a conversation about a repository; without `scopes`, to read it."""
        wanted = scopes or (scope(named.path, "pull"),)
        return self._client.connect(registry_host(named.domain), auth, wanted)

    async def tags(self, repository: str, auth: RegistryAuth | None) -> tuple[str, ...]:
        """Return a repository's tags."""
        named = parse_reference(repository)
        try:
            async with self.connect(named, auth) as session:
                return await pulling.list_tags(session, named)
        except RegistryProblem as problem:
            raise pulling.pull_error(named, problem) from problem

    async def look(self, reference: str, auth: RegistryAuth | None) -> RemoteImage:
        """Return what a registry has under a name."""
        named = parse_reference(reference).with_default_tag()
        try:
            async with self.connect(named, auth) as session:
                return await pulling.inspect(session, named)
        except RegistryProblem as problem:
            if problem.status == 404:
                raise NotFound(problem.message) from problem
            raise

    async def search(self, term: str, *, limit: int, auth: RegistryAuth | None) -> tuple[SearchResult, ...]:
        """Search a registry."""
        return await registry_search.search(self._client, term, limit=limit, auth=auth)

    async def check_credentials(self, server: str, auth: RegistryAuth) -> str:
        """Log in. Denied if the credentials are wrong."""
        try:
            async with self._client.connect(login_host(server), auth) as session:
                return await session.log_in()
        except RegistryProblem as problem:
            if problem.status in (401, 403) and problem.code != "NO_CREDENTIALS":
                raise Denied(problem.message) from problem
            raise

    async def push(
        self,
        named: Reference,
        image: Outgoing,
        *,
        auth: RegistryAuth | None,
        blobs: Path,
        work: Path,
        report: ProgressCallback,
    ) -> PushResult:
        """Send an image."""
        scopes = [scope(named.path, "pull", "push"), *(scope(path, "pull") for path in image.siblings)]
        async with self.connect(named, auth, *scopes) as session:
            push = Push(
                session,
                named,
                blobs=blobs,
                work=work,
                report=report,
                retry_delays_s=self._retry_delays_s,
            )
            return await push.run(named.tag, image)
