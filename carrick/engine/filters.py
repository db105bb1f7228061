"""List filters by Docker's rules: which names exist, how each matches. Pure.

`name` and `id` match as regular expressions, the others exactly; several values of one filter are
alternatives, except labels, which must all be there.
"""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from ..model.containers import ContainerStatus, Image
from ..model.errors import InvalidRequest, NotFound
from ..model.networks import Network
from .state import State
from .values import ContainerRecord, Event, Filters

_TRUE = {"1", "true", "True", "TRUE", "t", "T"}
_FALSE = {"0", "false", "False", "FALSE", "f", "F"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def check_names(filters: Filters, known: Collection[str]) -> None:
    """Raise InvalidRequest in Docker's words if there is a filter that does not exist."""
    for name in sorted(filters):
        if name not in known:
            raise InvalidRequest(f"invalid filter '{name}'")
    if "until" in known:
        # Also where there is nothing yet that it could be held against.
        matches_until(filters, 0, 0)


def matches_text(filters: Filters, name: str, *texts: str) -> bool:
    """Match as Docker's Filters.Match: any value, as a regular expression, or as it is."""
    patterns = filters.get(name)
    if not patterns:
        return True
    for pattern in patterns:
        if pattern in texts:
            return True
        try:
            if any(re.search(pattern, text) for text in texts):
                return True
        except re.error:
            continue
    return False


def matches_exactly(filters: Filters, name: str, *values: str) -> bool:
    wanted = filters.get(name)
    return not wanted or any(value in wanted for value in values)


def matches_labels(filters: Filters, labels: Mapping[str, str]) -> bool:
    """Every `label` must be there (`key` or `key=value`), and no `label!`."""

    def has(item: str) -> bool:
        key, separator, value = item.partition("=")
        return key in labels and (not separator or labels[key] == value)

    return all(has(item) for item in filters.get("label", ())) and not any(
        has(item) for item in filters.get("label!", ())
    )


def flag(filters: Filters, name: str) -> bool | None:
    """Return a yes-or-no filter's value, None if it is not given."""
    values = filters.get(name)
    if not values:
        return None
    if len(set(values)) > 1:
        raise InvalidRequest(f'got more than one value for filter key "{name}"')
    if values[0] in _TRUE:
        return True
    if values[0] in _FALSE:
        return False
    raise InvalidRequest(f"invalid filter '{name}=[{values[0]}]'")


def parse_moment(text: str, now_ns: int) -> int:
    """Parse `until`: a Unix time, an RFC 3339 time, or a duration before now; in nanoseconds."""
    try:
        return int(float(text) * 1e9)
    except ValueError:
        pass
    if text and _DURATION.sub("", text) == "":
        ago = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(text))
        return now_ns - int(ago * 1e9)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"invalid filter 'until={text}': it is neither a time nor a duration") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)


def matches_until(filters: Filters, created_ns: int, now_ns: int) -> bool:
    values = filters.get("until", ())
    if len(values) > 1:
        raise InvalidRequest("more than one until filter specified")
    return not values or created_ns < parse_moment(values[0], now_ns)


_NETWORK_FILTERS = {"dangling", "driver", "id", "label", "name", "scope", "type"}


def network_matches(network: Network, filters: Filters, *, is_used: bool) -> bool:
    check_names(filters, _NETWORK_FILTERS)
    kinds = set(filters.get("type", ()))
    if unknown := kinds - {"custom", "builtin"}:
        raise InvalidRequest(f"invalid filter 'type={sorted(unknown)[0]}'")
    is_builtin = network.name in {"bridge", "host", "none"}
    dangling = flag(filters, "dangling")
    return (
        matches_text(filters, "name", network.name)
        and matches_text(filters, "id", network.id)
        and matches_exactly(filters, "driver", network.driver)
        and matches_exactly(filters, "scope", "local" if network.scope == "local" else "swarm", network.scope)
        and matches_labels(filters, network.labels)
        and (not kinds or ("builtin" if is_builtin else "custom") in kinds)
        and (dangling is None or dangling == (not is_used and not is_builtin))
    )


_HEALTHS = {"starting", "healthy", "unhealthy", "none"}
_CONTAINER_FILTERS = {
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
}


class ContainerMatcher:
    """`ps` filters, checked once and then applied to each container."""

    def __init__(self, filters: Filters, state: State) -> None:
        check_names(filters, _CONTAINER_FILTERS)
        self._filters = filters
        self._state = state
        statuses = set(filters.get("status", ()))
        if unknown := statuses - set(ContainerStatus):
            raise InvalidRequest(f"invalid filter 'status={sorted(unknown)[0]}'")
        for health in filters.get("health", ()):
            if health not in _HEALTHS:
                raise InvalidRequest(f"Unrecognised filter value for health: {health}")
        # No container here is a task of a swarm service.
        self._wants_tasks = flag(filters, "is-task") is True
        for code in filters.get("exited", ()):
            if not code.lstrip("-").isdigit():
                raise InvalidRequest(f"invalid filter 'exited={code}'")
        for name in ("publish", "expose"):
            for text in filters.get(name, ()):
                _port_filter(name, text)
        self._before = self._moment("before")
        self._since = self._moment("since")

    @property
    def names_states(self) -> bool:
        """Whether stopped containers are meant even without `--all`."""
        return bool(self._filters.get("status") or self._filters.get("exited"))

    def _moment(self, name: str) -> datetime | None:
        references = self._filters.get(name)
        if not references:
            return None
        try:
            return self._state.find_container(references[-1]).created
        except NotFound:
            raise NotFound(f"no such container {references[-1]}") from None

    def matches(self, record: ContainerRecord) -> bool:
        filters = self._filters
        if not filters:
            return True
        state = record.state
        return (
            not self._wants_tasks
            and matches_text(filters, "name", record.name, f"/{record.name}")
            and matches_text(filters, "id", record.id)
            and matches_labels(filters, record.config.labels)
            and matches_exactly(filters, "status", state.status)
            and self._matches_exited(record)
            and self._matches_ancestor(record)
            and self._matches_network(record)
            and self._matches_volume(record)
            and self._matches_ports(record)
            and matches_exactly(filters, "health", state.health.status if state.health else "none")
            and (self._before is None or record.created < self._before)
            and (self._since is None or record.created > self._since)
        )

    def _matches_exited(self, record: ContainerRecord) -> bool:
        codes = self._filters.get("exited")
        if not codes:
            return True
        ended = record.has_been_started and not record.state.is_running
        return ended and str(record.state.exit_code) in codes

    def _matches_ancestor(self, record: ContainerRecord) -> bool:
        names = self._filters.get("ancestor")
        if not names:
            return True
        asked = record.asked_image
        bare = record.image_id.removeprefix("sha256:")
        return any(
            name in {asked, record.image_id}
            or f"{name}:latest" == asked
            or name == f"{asked}:latest"
            or (len(name) >= 12 and bare.startswith(name.removeprefix("sha256:")))
            for name in names
        )

    def _matches_network(self, record: ContainerRecord) -> bool:
        names = self._filters.get("network")
        if not names:
            return True
        have = {record.host_config.network_mode}
        for item in record.attachments:
            have.add(item.network)
            if network := self._state.network_or_none(item.network):
                have |= {network.id, network.name}
        wanted = {n.id if (n := self._state.network_or_none(name)) else name for name in names}
        return bool(wanted & have)

    def _matches_volume(self, record: ContainerRecord) -> bool:
        names = self._filters.get("volume")
        have = {text for point in record.mounts for text in (point.name, point.source, point.destination)}
        return not names or bool(have & set(names))

    def _matches_ports(self, record: ContainerRecord) -> bool:
        published = {(port.host_port, port.protocol) for port in record.ports}
        exposed = {
            (low, proto) for low, _, proto in (_port_filter("", t) for t in record.config.exposed_ports)
        }
        for name, have in (("publish", published), ("expose", exposed | published)):
            wanted = [_port_filter(name, text) for text in self._filters.get(name, ())]
            if wanted and not any(
                low <= port <= high and protocol == proto
                for low, high, protocol in wanted
                for port, proto in have
            ):
                return False
        return True


def _port_filter(name: str, text: str) -> tuple[int, int, str]:
    """Parse `80`, `80/udp` or `80-90/tcp` into first, last and protocol."""
    ports, _, protocol = text.partition("/")
    first, _, last = ports.partition("-")
    if not first.isdigit() or not (last or first).isdigit():
        raise InvalidRequest(f"invalid filter '{name}={text}'")
    return int(first), int(last or first), protocol or "tcp"


def image_matches(
    image: Image, filters: Filters, moments: Mapping[str, datetime | None], now_ns: int
) -> bool:
    """Apply the filters of `images`; `moments` are when the images of `before` and `since` were made."""
    dangling = flag(filters, "dangling")
    created_ns = int(image.created.timestamp() * 1e9) if image.created else 0
    before, since = moments.get("before"), moments.get("since")
    return (
        (dangling is None or dangling == (not image.repo_tags))
        and matches_labels(filters, image.config.labels)
        and matches_until(filters, created_ns, now_ns)
        and (before is None or (image.created is not None and image.created < before))
        and (since is None or (image.created is not None and image.created > since))
        and (not filters.get("reference") or bool(tags_asked_for(image, filters)))
    )


def tags_asked_for(image: Image, filters: Filters) -> tuple[str, ...]:
    """Return the tags that `reference` lets through: shell patterns for a name, with or without its tag."""
    patterns = filters.get("reference", ())
    return tuple(
        tag
        for tag in image.repo_tags
        if not patterns
        or any(
            fnmatchcase(text, pattern)
            for pattern in patterns
            for text in (tag, tag.rpartition(":")[0], tag.rpartition(":")[0].rpartition("/")[2])
        )
    )


def _untagged(reference: str) -> str:
    """Return an image's name without its tag or digest; a registry's port is no tag."""
    name = reference.partition("@")[0]
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name


def event_matches(event: Event, filters: Filters) -> bool:
    """Apply the filters of `events`; an object's filter matches its id or its name.

    `image` means what happens to the image, and to the containers that run from it.
    """
    for kind in ("container", "network", "volume", "daemon"):
        wanted = filters.get(kind)
        if wanted and not (
            event.type == kind
            and any(
                event.actor_id.startswith(text) or event.attributes.get("name") == text for text in wanted
            )
        ):
            return False
    images = set(filters.get("image", ()))
    if images:
        named = {"image": ("name",), "container": ("image",)}.get(event.type, ())
        have = {event.attributes.get(key, "") for key in named} - {""}
        have |= {event.actor_id} if event.type == "image" else set()
        if not images & (have | {_untagged(text) for text in have}):
            return False
    action = event.action.partition(":")[0]
    return (
        matches_exactly(filters, "type", event.type)
        and matches_exactly(filters, "event", event.action, action)
        and matches_exactly(filters, "scope", event.scope)
        and matches_labels(filters, event.attributes)
    )
