"""`--network` of run and create, long form included, and what belongs to it.

The long form is `name=front,alias=web,ip=10.0.0.2,…`. Values keep their case: lower-casing them, as
Docker's command line does, makes names with capitals unusable.
"""

from __future__ import annotations

from carrick.doors.cli.flags import Kind, split_csv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_MAC = r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}|[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){2}"
_BUILT_IN = frozenset(("default", "bridge", "host", "none", "private", ""))


class Attachment:
    """One network of a container's, and how the container is to appear on it.

    A value, and no dataclass: every `run` makes one (see `carrick.doors.cli`).
    """

    __slots__ = (
        *("aliases", "driver_options", "gateway_priority", "ipv4", "ipv6", "link_local", "links"),
        *("mac", "target"),
    )

    def __init__(
        self,
        target: str,
        *,
        aliases: tuple[str, ...] = (),
        links: tuple[str, ...] = (),
        ipv4: str = "",
        ipv6: str = "",
        link_local: tuple[str, ...] = (),
        mac: str = "",
        driver_options: tuple[tuple[str, str], ...] = (),
        gateway_priority: int = 0,
    ) -> None:
        self.target = target
        self.aliases = aliases
        self.links = links
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.link_local = link_local
        self.mac = mac
        self.driver_options = driver_options
        self.gateway_priority = gateway_priority

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Attachment):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Attachment({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    @property
    def is_user_defined(self) -> bool:
        """Say whether it is a network that somebody made, rather than one of the modes."""
        return self.target not in _BUILT_IN and not self.target.startswith("container:")


def _is_long_form(text: str) -> bool:
    """Say whether an equals sign stands between two word characters, which no name has."""
    before, separator, after = text.partition("=")
    while separator:
        if _is_word(before[-1:]) and _is_word(after[:1]):
            return True
        before, separator, after = after.partition("=")
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def parse_network(text: str) -> Attachment:
    """Return the attachment of one `--network`. Raises ValueError."""
    if not _is_long_form(text):
        return Attachment(text)
    many: dict[str, list[str]] = {"alias": [], "link-local-ip": []}
    single: dict[str, str] = {}
    driver_options: list[tuple[str, str]] = []
    for field in split_csv(text):
        key, separator, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not separator:
            raise ValueError(f"invalid field {field}")
        if key in many:
            many[key].append(value)
        elif key == "driver-opt":
            driver_options.append(parse_driver_option(value))
        elif key in ("name", "ip", "ip6", "mac-address", "gw-priority"):
            single[key] = value
        else:
            raise ValueError(f"invalid field key {key}")
    if not single.get("name"):
        raise ValueError("network name/id is not specified")
    return Attachment(
        single["name"],
        aliases=tuple(many["alias"]),
        ipv4=single.get("ip", ""),
        ipv6=single.get("ip6", ""),
        link_local=tuple(many["link-local-ip"]),
        mac=single.get("mac-address", ""),
        driver_options=tuple(driver_options),
        gateway_priority=_priority(single.get("gw-priority", "0")),
    )


def _priority(text: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise ValueError(
            f"invalid gw-priority ({text}): value must be an integer: "
            f'strconv.ParseInt: parsing "{text}": invalid syntax'
        )
    return int(text)


def parse_driver_option(text: str) -> tuple[str, str]:
    """Return key and value of a driver option. Raises ValueError."""
    key, separator, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not separator or not key:
        raise ValueError(f"invalid key value pair format in driver options: {text}")
    return key, value


NETWORK = Kind("network", parse_network, many=True)


def check_mac(text: str) -> str:
    """Return a MAC address as it stands. Raises ValueError."""
    import re

    if not re.fullmatch(_MAC, text):
        raise ValueError(f"{text} is not a valid mac address")
    return text


def merge_container_flags(first: Attachment, flags: Attachment) -> Attachment:
    """Return the first network with `--ip`, `--network-alias` and the like of the container.

    Raises ValueError where a flag and the long form both say something.
    """
    for own, given, flag, word in (
        (first.aliases, flags.aliases, "--network-alias", "alias"),
        (first.ipv4, flags.ipv4, "--ip", "IPv4 address"),
        (first.ipv6, flags.ipv6, "--ip6", "IPv6 address"),
        (first.link_local, flags.link_local, "--link-local-ip", "link-local IP addresses"),
        (first.mac, flags.mac, "--mac-address", "MAC address"),
    ):
        if own and given:
            raise ValueError(f"conflicting options: cannot specify both {flag} and per-network {word}")
    return Attachment(
        first.target,
        aliases=first.aliases or flags.aliases,
        # On the default network links are the container's, not the endpoint's.
        links=flags.links if first.is_user_defined else (),
        ipv4=first.ipv4 or flags.ipv4,
        ipv6=first.ipv6 or flags.ipv6,
        link_local=first.link_local or flags.link_local,
        mac=first.mac or flags.mac,
        driver_options=first.driver_options,
        gateway_priority=first.gateway_priority,
    )


def endpoint_settings(attachment: Attachment) -> dict[str, Any]:
    """Return the API's EndpointSettings, with only what was asked for. Raises ValueError."""
    if attachment.aliases and not attachment.is_user_defined:
        raise ValueError("network-scoped aliases are only supported for user-defined networks")
    settings: dict[str, Any] = {}
    ipam: dict[str, Any] = {}
    if attachment.ipv4:
        ipam["IPv4Address"] = attachment.ipv4
    if attachment.ipv6:
        ipam["IPv6Address"] = attachment.ipv6
    if attachment.link_local:
        ipam["LinkLocalIPs"] = list(attachment.link_local)
    if ipam:
        settings["IPAMConfig"] = ipam
    if attachment.aliases:
        settings["Aliases"] = list(attachment.aliases)
    if attachment.links:
        settings["Links"] = list(attachment.links)
    if attachment.mac:
        settings["MacAddress"] = check_mac(attachment.mac)
    if attachment.driver_options:
        settings["DriverOpts"] = dict(attachment.driver_options)
    if attachment.gateway_priority:
        settings["GwPriority"] = attachment.gateway_priority
    return settings


def networking_config(attachments: Sequence[Attachment], flags: Attachment) -> tuple[str, dict[str, Any]]:
    """Return the network mode and the endpoints by network.

    `flags` holds the container-wide flags, which apply to the first network. Raises ValueError.
    """
    wanted = list(attachments) or [Attachment("default")]
    mode = wanted[0].target
    if not mode:
        raise ValueError("network name/id is not specified")
    wanted[0] = merge_container_flags(wanted[0], flags)
    endpoints: dict[str, Any] = {}
    seen: set[str] = set()
    for attachment in wanted:
        if attachment.target in seen:
            raise ValueError(f'network "{attachment.target}" is specified multiple times')
        seen.add(attachment.target)
        settings = endpoint_settings(attachment)
        # A lone network without wishes is told by the mode alone.
        if settings or len(wanted) > 1:
            endpoints[attachment.target] = settings
    if len({attachment.is_user_defined for attachment in wanted}) > 1:
        raise ValueError(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    return mode, endpoints
