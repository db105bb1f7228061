"""A namespace's sysctls: what they are at first, and how those of a link come and go with it."""

_V4, _V6 = "ipv4", "ipv6"
_PER_LINK = {
    "route_localnet": (_V4, "0"),
    "accept_ra": (_V6, "1"),
    "disable_ipv6": (_V6, "0"),
    "arp_notify": (_V4, "0"),
}
"""The sysctls that each link has, with their family and what they are at first."""

HOST_SYSCTLS = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}
"""What the host's namespace has besides."""


class Sysctls(dict[str, str]):
    """Values by key."""

    def __init__(self) -> None:
        super().__init__()
        for key, (family, value) in _PER_LINK.items():
            self[f"net.{family}.conf.default.{key}"] = value
        self["net.ipv6.conf.default.ndisc_notify"] = "0"
        self["net.ipv6.conf.default.accept_dad"] = "1"

    def add_link(self, name: str) -> None:
        """Give a new link its sysctls: each is what the namespace's default is now."""
        for key, (family, _) in _PER_LINK.items():
            self[f"net.{family}.conf.{dotted(name)}.{key}"] = self[f"net.{family}.conf.default.{key}"]

    def drop_link(self, name: str) -> None:
        for key in self._of_link(name):
            del self[key]

    def rename_link(self, old: str, new: str) -> None:
        for key in self._of_link(old):
            parts = key.split(".")
            parts[3] = dotted(new)
            self[".".join(parts)] = self.pop(key)

    def _of_link(self, name: str) -> list[str]:
        return [key for key in self if key.split(".")[3:4] == [dotted(name)]]

    def has_ipv6(self, name: str) -> bool:
        """Whether IPv6 is switched on for a link."""
        return self[f"net.ipv6.conf.{dotted(name)}.disable_ipv6"] == "0"

    def makes_link_local(self, name: str) -> bool:
        """Whether a link gets its link-local address of itself once IPv6 is switched on."""
        return self.get(f"net.ipv6.conf.{dotted(name)}.addr_gen_mode") != "1"


def dotted(name: str) -> str:
    """Write an interface's name as it stands in a sysctl's key."""
    return name.replace(".", "/")


def link_name(key: str) -> str | None:
    """Return the name of the link that a sysctl would be of, by its key; None if it is of none."""
    parts = key.split(".")
    if len(parts) < 5 or parts[0] != "net" or parts[2] not in {"conf", "neigh"}:
        return None
    return parts[3].replace("/", ".")
