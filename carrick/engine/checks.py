"""Refuse at creation what could only fail at the start, or would break files that others read.

Whatever lands in hosts and resolv.conf is one word there: a name with a line's end in it would be a line of
its own, with an address of the writer's choice.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import PurePosixPath

from ..domains.sandboxes.files import parse_extra_host
from ..domains.sandboxes.links import parse_link
from ..host.runtime.capabilities import ALL_CAPABILITIES, plan_capabilities
from ..model.containers import ContainerConfig, HostConfig
from ..model.errors import InvalidRequest
from ..model.networks import EndpointSettings

_LONGEST_HOST_NAME = 64


def check_container(config: ContainerConfig, host: HostConfig) -> None:
    """Raise InvalidRequest for what a container cannot be given, in Docker's words where it has some."""
    if len(config.hostname.encode()) > _LONGEST_HOST_NAME:
        raise InvalidRequest(f"invalid hostname: {config.hostname} is longer than {_LONGEST_HOST_NAME} bytes")
    _check_words("hostname", [config.hostname, config.domainname])
    _check_words("DNS search domain", host.dns_search)
    _check_words("DNS option", host.dns_options)
    for server in host.dns:
        try:
            ip_address(server.partition("%")[0])
        except ValueError:
            raise InvalidRequest(f"invalid DNS server {server!r}: it must be an IP address") from None
    for item in host.extra_hosts:
        _check_words("name in add-host", [parse_extra_host(item)[0]])
    for text in host.links:
        parse_link(text)
    for path in host.tmpfs:
        if not PurePosixPath(path).is_absolute():
            raise InvalidRequest(
                f"invalid mount config for type \"tmpfs\": invalid mount path: '{path}' mount path must be "
                "absolute"
            )
    # Those that the daemon does not have itself are refused at the start, by who knows them.
    plan_capabilities(
        add=host.cap_add, drop=host.cap_drop, privileged=host.privileged, available=ALL_CAPABILITIES
    )


def check_settings(settings: EndpointSettings) -> None:
    """Raise InvalidRequest for what an endpoint cannot be given."""
    _check_words("alias", settings.aliases)
    for text in settings.links:
        parse_link(text)


def _check_words(what: str, words: Iterable[str]) -> None:
    for word in words:
        if not word.isprintable() or any(letter.isspace() or letter == "#" for letter in word):
            raise InvalidRequest(f"invalid {what}: {word!r} has blanks, '#' or control characters in it")
