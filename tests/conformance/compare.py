"""Compare what two engines answered, field by field, after taking out what varies between any two runs.

What may vary is said by the rules here and nowhere else: ids, times, pids, sizes of files, hardware
addresses, the engines' directories. Everything else counts: whether a key is there, null or empty, its
type, its value, the order of a list.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .client import Exchange

ABSENT = "(absent)"

_TEXT_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<short id>"),
    (re.compile(r"\b(?!0001)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"\bveth[0-9a-f]+\b"), "<veth>"),
    # What the engines choose themselves from their pools; scenarios ask for addresses in 10.0.0.0/8.
    (re.compile(r"\b(172\.(1[6-9]|2\d|3[01])|192\.168)\.\d+\.\d+(/\d+)?\b"), "<address>"),
    (re.compile(r"/tmp/ck[a-z]*-[0-9a-f]{6}-[^/]+/(state|data)"), "<engine>"),
    (re.compile(r"\b(Up|Exited \(\d+\)) (Less than a second|About a minute|\d+ \w+)( ago)?"), r"\1 <while>"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """`replace` says what stands for a value at paths that match; None leaves it as it is."""

    path: re.Pattern[str]
    replace: Callable[[Any], str | None]


def _positive(token: str) -> Callable[[Any], str | None]:
    return lambda value: token if type(value) is int and value > 0 else None


def _filled(token: str) -> Callable[[Any], str | None]:
    return lambda value: token if isinstance(value, str) and value else None


def _same(token: str) -> Callable[[Any], str | None]:
    return lambda value: f"{token} {type(value).__name__}"


def _rule(path: str, replace: Callable[[Any], str | None]) -> Rule:
    return Rule(re.compile(path), replace)


# Lists whose order is that of a hash table in Docker; sorted before they are compared.
_UNORDERED = re.compile(
    r"^$|\.(Mounts|Volumes|Networks|Images|Containers|RepoTags|RepoDigests|Names|NetworksDeleted|VolumesDeleted"
    r"|ContainersDeleted|ImagesDeleted|Aliases|SecurityOptions|Ports|Links)$"
)


def _number(value: Any) -> str | None:
    """What stands for a number in the output of `ps`."""
    return "<number>" if isinstance(value, str) and re.fullmatch(r"[\d.:]+", value) else None


def _count(value: Any) -> str | None:
    return "<count>" if type(value) is int else None


def _directory(value: Any) -> str | None:
    """What stands for a place below an engine's own directory, its last parts."""
    if isinstance(value, str) and (match := re.search(r"/volumes/([^/]+/_data.*)$", value)):
        return f"<volumes>/{_text(match[1])}"
    return None


_VALUE_RULES: tuple[Rule, ...] = (
    _rule(r"\.(Pid|pid)$", _positive("<pid>")),
    _rule(r"^\.Processes\[\d+\]\[\d+\]$", _number),
    _rule(r"^\.(\w*cpu_stats|memory_stats|networks|blkio_stats|pids_stats)\.", _count),
    _rule(r"^\.(NFd|NGoroutines|NEventsListener|SystemTime|ID)$", _same("<any>")),
    _rule(r"\.(time|timeNano|Created|LastTagTime)$", _positive("<moment>")),
    _rule(
        r"\.(SizeRw|SizeRootFs|Size|VirtualSize|SharedSize|LayersSize|SpaceReclaimed)$", _positive("<size>")
    ),
    _rule(r"\.(ResolvConfPath|HostnamePath|HostsPath|LogPath|SandboxKey|DockerRootDir)$", _filled("<path>")),
    _rule(r"\.GraphDriver\.Data\.\w+Dir$", _filled("<path>")),
    _rule(r"\.(Mountpoint|Source)$", _directory),
)


def _text(value: str) -> str:
    for pattern, replacement in _TEXT_RULES:
        value = pattern.sub(replacement, value)
    return value


def normal(value: Any, path: str = "") -> Any:
    """Return a value with what varies replaced by tokens."""
    for rule in _VALUE_RULES:
        if rule.path.search(path) and (token := rule.replace(value)) is not None:
            return token
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_key(key, item): normal(item, f"{path}.{_text(key)}") for key, item in value.items()}
    if isinstance(value, list):
        items = [normal(item, f"{path}[{position}]") for position, item in enumerate(value)]
        return sorted(items, key=_sort_key) if _UNORDERED.search(path) else items
    return value


def _key(key: str, item: Any) -> str:
    """Return what stands for a key; for an id, with the name of what it is of."""
    text = _text(key)
    return f"{text} {item['Name']}" if text == "<id>" and isinstance(item, dict) and "Name" in item else text


def _sort_key(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        names = ("PrivatePort", "IP", "Path", "Type", "Name", "Names", "Destination", "RepoTags")
        return tuple(str(value.get(name, "")).rjust(20) for name in names)
    return (str(value),)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which the answers to one request differ."""

    scenario: str
    request: str
    path: str
    docker: Any
    carrick: Any

    def __str__(self) -> str:
        return (
            f"{self.scenario}: {self.request}\n    {self.path or 'body'}\n"
            f"      docker:  {self.docker!r}\n      carrick: {self.carrick!r}"
        )


def differences(
    scenario: str, docker: Sequence[Exchange], carrick: Sequence[Exchange]
) -> Iterator[Difference]:
    """Yield every difference between two runs of a scenario, in the order of its requests."""
    for ours, theirs in zip(carrick, docker, strict=True):
        request = _text(theirs.request)
        assert request == _text(ours.request), "the scenario did not do the same with both"
        if theirs.status != ours.status:
            # One difference, whatever the bodies are: nobody compares an answer with a refusal.
            yield Difference(scenario, request, "status", _outcome(theirs), _outcome(ours))
            continue
        for path, left, right in _unequal("header", dict(theirs.headers), dict(ours.headers)):
            yield Difference(scenario, request, path, left, right)
        for path, left, right in _unequal("", normal(theirs.body), normal(ours.body)):
            yield Difference(scenario, request, path, left, right)


def _are_named(value: Any) -> bool:
    """Say whether a value is a list of objects that have names of their own to tell them apart."""
    if not isinstance(value, list) or not all(isinstance(item, dict) and _name(item) for item in value):
        return False
    return len({_name(item) for item in value}) == len(value)


def _name(item: dict[str, Any]) -> str:
    return str(item.get("Name") or item.get("Names") or item.get("Destination") or item.get("RepoTags") or "")


def _by_name(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"[{_name(item)}]": item for item in items}


def _outcome(exchange: Exchange) -> str:
    message = exchange.body.get("message") if isinstance(exchange.body, dict) else None
    return f"{exchange.status} {_text(message)}" if message else str(exchange.status)


def _unequal(path: str, docker: Any, carrick: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(docker, dict) and isinstance(carrick, dict):
        for key in sorted(docker.keys() | carrick.keys()):
            left, right = docker.get(key, ABSENT), carrick.get(key, ABSENT)
            yield from _unequal(f"{path}.{key}", left, right)
    elif _are_named(docker) and _are_named(carrick):
        left, right = _by_name(docker), _by_name(carrick)
        yield from _unequal(path, left, right)
    elif isinstance(docker, list) and isinstance(carrick, list) and len(docker) == len(carrick):
        for position, (left, right) in enumerate(zip(docker, carrick, strict=True)):
            yield from _unequal(f"{path}[{position}]", left, right)
    elif docker != carrick or type(docker) is not type(carrick):
        yield path, docker, carrick
