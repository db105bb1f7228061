"""Render what endpoints add to the tables: published and open ports, isolated links, and what is linked."""

from collections.abc import Iterable, Sequence

from .wanted import Link, OpenPort, Publication


def _publication_element(item: Publication) -> tuple[str, str, str]:
    """Return the map, the key and the value of one publication."""
    key = f"{item.protocol} . {item.host_port}"
    name = f"publish{item.version}"
    if item.host_ip:
        key = f"{item.host_ip} . {key}"
    else:
        name += "_any"
    return name, key, f"{item.target_ip} . {item.target_port}"


def _grouped(table: str, verb: str, elements: Iterable[tuple[str, str]]) -> list[str]:
    """One command per map, however many elements: nft parses long lists far faster than long files."""
    groups: dict[str, list[str]] = {}
    for name, element in elements:
        groups.setdefault(name, []).append(element)
    return [f"{verb} element {table} {name} {{ {', '.join(items)} }}" for name, items in groups.items()]


def _removed(table: str, added: Sequence[tuple[str, str]], keys: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Remove elements, those that are gone already included: each is added first, in the same transaction.

    A map's key that has another value by now is refused, which is right: it is not ours any more.
    """
    return _grouped(table, "add", added) + _grouped(table, "delete", keys or added)


def render_publish(table: str, publications: Iterable[Publication]) -> list[str]:
    parts = [_publication_element(item) for item in publications]
    return _grouped(f"inet {table}", "add", [(name, f"{key} : {value}") for name, key, value in parts])


def render_unpublish(table: str, publications: Iterable[Publication]) -> list[str]:
    parts = [_publication_element(item) for item in publications]
    added = [(name, f"{key} : {value}") for name, key, value in parts]
    return _removed(f"inet {table}", added, [(name, key) for name, key, _ in parts])


def _open_elements(ports: Iterable[OpenPort]) -> list[tuple[str, str]]:
    return [
        ("open6" if ":" in item.ip else "open4", f"{item.ip} . {item.protocol} . {item.port}")
        for item in ports
    ]


def render_open(table: str, ports: Iterable[OpenPort]) -> list[str]:
    return _grouped(f"inet {table}", "add", _open_elements(ports))


def render_close(table: str, ports: Iterable[OpenPort]) -> list[str]:
    return _removed(f"inet {table}", _open_elements(ports))


def render_hook(table: str) -> list[str]:
    """Put the bridge table's base chain, or replace what is in it."""
    bridge = f"bridge {table}"
    return [
        f"add chain {bridge} forward {{ type filter hook forward priority filter; policy accept; }}",
        f"flush chain {bridge} forward",
        f"add rule {bridge} forward iifname @isolated jump isolate",
    ]


def render_isolate(table: str, interfaces: Iterable[str]) -> list[str]:
    """Isolate endpoints; the base chain comes with the first of them."""
    elements = _grouped(f"bridge {table}", "add", [("isolated", f'"{name}"') for name in interfaces])
    return [*render_hook(table), *elements] if elements else []


def render_release(table: str, interfaces: Iterable[str]) -> list[str]:
    """Let endpoints go; the base chain goes when all is replaced next."""
    return _removed(f"bridge {table}", [("isolated", f'"{name}"') for name in interfaces])


def _link_elements(links: Iterable[Link]) -> list[tuple[str, str]]:
    return [("linked4", f"{item.source} . {item.target} . {item.protocol} . {item.port}") for item in links]


def render_link(table: str, links: Iterable[Link]) -> list[str]:
    elements = _link_elements(links)
    return [line for family in ("bridge", "inet") for line in _grouped(f"{family} {table}", "add", elements)]


def render_unlink(table: str, links: Iterable[Link]) -> list[str]:
    elements = _link_elements(links)
    return [line for family in ("bridge", "inet") for line in _removed(f"{family} {table}", elements)]
