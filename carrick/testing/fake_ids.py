"""Ids for fakes, and how a reference finds one."""

import hashlib
from collections.abc import Mapping

from ..engine.values import Filters
from ..model.errors import InvalidRequest, NotFound

NO_FILTERS: Filters = {}


def make_id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def find(reference: str, names: Mapping[str, str], missing: str) -> str:
    """Return the id that a full id, a name or a prefix stands for; `names` maps ids to names."""
    reference = reference.removeprefix("/")
    if reference in names:
        return reference
    for identifier, name in names.items():
        if name == reference:
            return identifier
    matches = [identifier for identifier in names if reference and identifier.startswith(reference)]
    if len(matches) > 1:
        raise InvalidRequest(f"multiple IDs found with provided prefix: {reference}")
    if not matches:
        raise NotFound(missing)
    return matches[0]
