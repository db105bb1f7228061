"""The API, described: an OpenAPI 3.1 document, made of typed data and the table of routes.

`kinds` are the types that JSON values have, `operations` what a route takes and answers; the modules that
are named for Docker's objects describe those. `document` joins them with the routes. Nothing of this is
imported before somebody asks: the daemon's start does not pay for it.
"""

from collections.abc import Iterable
from typing import Any

from ..routing import ApiVersion, Route


class Description:
    """The documents of the versions that were asked for, made once each."""

    def __init__(self, routes: Iterable[Route], release: str) -> None:
        self._routes = tuple(routes)
        self._release = release
        self._documents: dict[ApiVersion, dict[str, Any]] = {}

    def document(self, version: ApiVersion) -> dict[str, Any]:
        """Return the document of one API version."""
        from .document import build_document

        if version not in self._documents:
            self._documents[version] = build_document(self._routes, version, self._release)
        return self._documents[version]
