"""`--link`: parse it, and the environment variables that a link on the default network gives.

The names and their forms are Docker's ("legacy container links"): for a link with alias `db` to a container
with port 5432, `DB_PORT`, `DB_PORT_5432_TCP`, `…_ADDR`, `…_PORT`, `…_PROTO`, `DB_NAME` and `DB_ENV_*`.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from ...model.errors import InvalidRequest

_NOT_PASSED = {"HOME", "PATH"}


def parse_link(text: str) -> tuple[str, str]:
    """Split `name:alias` or `name` into the container's name and the alias."""
    name, separator, alias = text.removeprefix("/").partition(":")
    if not name or (separator and not alias) or ":" in alias:
        raise InvalidRequest(f"bad format for links: {text}")
    return name, alias.rpartition("/")[2] or name


def link_environment(
    parent: str, alias: str, address: str, ports: Iterable[str], environment: Sequence[str]
) -> list[str]:
    """Return the variables a link adds. `ports` are the target's exposed ports, as `80/tcp`."""
    prefix = alias.replace("-", "_").upper()
    parsed = sorted(
        {(item.partition("/")[2] or "tcp", int(item.partition("/")[0])) for item in ports},
        key=lambda item: (item[0] != "tcp", item[0], item[1]),
    )
    lines = []
    if parsed:
        protocol, port = parsed[0]
        lines.append(f"{prefix}_PORT={protocol}://{address}:{port}")
    for protocol, run in _runs(parsed):
        first, last = run[0], run[-1]
        if first != last:
            start = f"{prefix}_PORT_{first}_{protocol.upper()}"
            lines.append(f"{start}_START={protocol}://{address}:{first}")
            lines.append(f"{start}_PORT_START={first}")
            lines.append(f"{start}_END={protocol}://{address}:{last}")
            lines.append(f"{start}_PORT_END={last}")
        for port in run:
            name = f"{prefix}_PORT_{port}_{protocol.upper()}"
            lines.append(f"{name}={protocol}://{address}:{port}")
            lines.append(f"{name}_ADDR={address}")
            lines.append(f"{name}_PORT={port}")
            lines.append(f"{name}_PROTO={protocol}")
    lines.append(f"{prefix}_NAME=/{parent}/{alias}")
    lines += [
        f"{prefix}_ENV_{item}"
        for item in environment
        if "=" in item and item.partition("=")[0] not in _NOT_PASSED
    ]
    return lines


def _runs(ports: Iterable[tuple[str, int]]) -> Iterable[tuple[str, list[int]]]:
    """Group sorted ports into runs of consecutive numbers of one protocol."""
    for (protocol, _), group in groupby(
        enumerate(ports), key=lambda item: (item[1][0], item[1][1] - item[0])
    ):
        yield protocol, [port for _, (_, port) in group]
