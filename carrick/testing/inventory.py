"""What a daemon has made on its machine, compared with what its records say it should have.

Read from outside, by other programs than the daemon's own parts: `ip`, `nft`, `ss`, /proc, the database.
`find_leaks` is for moments of quiet; while something is being changed the two differ, of course.
"""

import json
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .daemon import Daemon

_UP = {"running", "paused"}


@dataclass(frozen=True, slots=True)
class Inventory:
    """Sets of names, each of one kind of thing."""

    links: frozenset[str]
    """The ids in the aliases of links: networks' and endpoints'."""
    namespaces: frozenset[str]
    mounted: frozenset[str]
    conmons: frozenset[str]
    cgroups: frozenset[str]
    bundles: frozenset[str]
    published: frozenset[str]
    """`tcp/8080`, as in the firewall's maps and in the sockets that hold them."""
    held: frozenset[str]
    directories: frozenset[str]
    leases: frozenset[str]
    """`address owner` of each lease that a container has."""


def read_records(daemon: Daemon) -> dict[str, list[Any]]:
    """Return the store's records by collection."""
    found: dict[str, list[Any]] = {}
    path = f"file:{daemon.state_dir / 'carrick.db'}?mode=ro"
    with closing(sqlite3.connect(path, uri=True)) as database:
        for key, value in database.execute("SELECT key, value FROM entries"):
            found.setdefault(key.partition("/")[0], []).append(json.loads(value))
    return found


def read_inventory(daemon: Daemon) -> Inventory:
    """Return what is there."""
    machine = daemon.machine
    links = json.loads(machine.do("ip", "-j", "link"))
    aliases, mark = {link.get("ifalias", "") for link in links}, f"{daemon.name}:"
    mounts = machine.do("cat", "/proc/self/mounts").splitlines()
    places = [line.split()[1] for line in mounts]
    roots = {place.split("/")[-2] for place in places if place.startswith(f"{daemon.state_dir}/containers/")}
    processes = machine.do("ps", "-wweo", "args").splitlines()
    conmons = {match[1] for line in processes if (match := re.match(r"conmon .*--cid (\S+)", line))}
    listening = {
        (words[0], words[4].rpartition(":")[2])
        for line in machine.do("ss", "-Htuln").splitlines()
        if (words := line.split())
    }
    runtime = daemon.run_dir / "runtime"
    return Inventory(
        links=frozenset(alias.removeprefix(mark) for alias in aliases if alias.startswith(mark)),
        namespaces=_names(daemon.run_dir / "netns"),
        mounted=frozenset(roots),
        conmons=frozenset(conmons),
        cgroups=frozenset(path.name for path in daemon.cgroups() if path.name != daemon.name),
        bundles=_names(runtime / "bundles") | _names(runtime / "runc"),
        published=_published(daemon),
        held=frozenset(f"{protocol}/{port}" for protocol, port in listening),
        directories=_names(daemon.state_dir / "containers"),
        leases=frozenset(
            f"{item['address']} {item['owner']}"
            for item in read_records(daemon).get("leases", ())
            if item["released_at"] is None and item["kind"] not in {"gateway", "aux"}
        ),
    )


def _names(directory: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return frozenset()


def _published(daemon: Daemon) -> frozenset[str]:
    found = set()
    text = daemon.machine.do("nft", "-j", "list", "table", "inet", daemon.name)
    for item in json.loads(text)["nftables"]:
        map_ = item.get("map", {})
        if not map_.get("name", "").startswith("publish"):
            continue
        for key, _ in map_.get("elem", ()):
            *_, protocol, port = key["concat"]
            found.add(f"{protocol}/{port}")
    return frozenset(found)


def expected_inventory(records: dict[str, list[Any]]) -> Inventory:
    """Return what should be there."""
    networks = {item["id"] for item in records["networks"] if item["driver"] == "bridge"}
    up = {item["id"] for item in records.get("containers", ()) if item["state"]["status"] in _UP}
    sandboxes = records.get("sandboxes", ())
    active = [item for item in sandboxes if item["active"]]
    endpoints = [endpoint for sandbox in active for endpoint in sandbox["endpoints"]]
    ports = frozenset(
        f"{port['protocol']}/{port['host_port']}"
        for item in records.get("containers", ())
        if item["id"] in up
        for port in item["ports"]
    )
    return Inventory(
        links=frozenset(networks | {item["id"] for item in endpoints if item["host_interface"]}),
        namespaces=frozenset(item["id"][:12] for item in active),
        mounted=frozenset(up),
        conmons=frozenset(up),
        cgroups=frozenset(up),
        bundles=frozenset(up),
        published=ports,
        held=ports,
        directories=frozenset(item["id"] for item in records.get("containers", ())),
        leases=frozenset(
            f"{endpoint[key].partition('/')[0]} {sandbox['id']}"
            for sandbox in sandboxes
            for endpoint in sandbox["endpoints"]
            for key in ("ipv4", "ipv6")
            if endpoint[key]
        ),
    )


def find_leaks(daemon: Daemon) -> list[str]:
    """Return every difference between the machine and the records, and between the records themselves."""
    records = read_records(daemon)
    actual, expected = read_inventory(daemon), expected_inventory(records)
    found = []
    for field in fields(Inventory):
        have, want = getattr(actual, field.name), getattr(expected, field.name)
        if field.name == "leases":
            # A created container may hold an address that it asked for, and has no endpoint yet.
            known = {item["id"] for item in records.get("sandboxes", ())}
            have = frozenset(item for item in have if item in want or item.split()[1] not in known)
        found += [f"{field.name}: {item} is too many" for item in sorted(have - want)]
        found += [f"{field.name}: {item} is missing" for item in sorted(want - have)]
    containers = {item["id"]: item for item in records.get("containers", ())}
    for sandbox in records.get("sandboxes", ()):
        owner = containers.get(sandbox["container_id"])
        if owner is None:
            found.append(f"sandbox {sandbox['id'][:12]} has no container")
        elif sandbox["active"] != (owner["state"]["status"] in _UP):
            found.append(
                f"sandbox of {owner['name']}: active={sandbox['active']}, {owner['state']['status']}"
            )
    for item in containers.values():
        if (
            item["state"]["status"] in _UP
            and not daemon.machine.path(f"/proc/{item['state']['pid']}").exists()
        ):
            found.append(f"container {item['name']} is recorded as running and is not")
        if item["state"]["status"] in {"removing", "dead"}:
            found.append(f"container {item['name']} is {item['state']['status']}")
    return found


def settle(daemon: Daemon, timeout_s: float = 5.0) -> list[str]:
    """Wait until nothing leaks; return what does when the time is over."""
    end = time.monotonic() + timeout_s
    while (leaks := find_leaks(daemon)) and time.monotonic() < end:
        time.sleep(0.1)
    return leaks
