"""Domain names: on the wire (RFC 1035, section 4.1.4), as text, and the reverse zones.

A name is the tuple of its labels, root last and left out. Comparison is by `fold`, which lowers
ASCII letters only (RFC 4343): other bytes in a label are compared as they are.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from ...model.errors import InvalidRequest

Name = tuple[bytes, ...]
Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

MAX_NAME = 255
MAX_LABEL = 63
_POINTER = 0xC0


class MalformedMessage(InvalidRequest):
    """The bytes are not a DNS message; the only error that parsing raises."""


def fold(name: Name) -> Name:
    """Return the name as it is compared: ASCII letters lowered (RFC 4343)."""
    return tuple(label.lower() for label in name)


def read_name(wire: bytes, offset: int) -> tuple[Name, int]:
    """Read a possibly compressed name; return it and the offset after it.

    A pointer must point before the place it was read from, so a loop cannot be built.
    """
    labels: list[bytes] = []
    size = 1
    end = -1
    barrier = offset
    try:
        while True:
            length = wire[offset]
            if length == 0:
                return tuple(labels), (offset + 1 if end < 0 else end)
            if length >= _POINTER:
                target = (length & 0x3F) << 8 | wire[offset + 1]
                if end < 0:
                    end = offset + 2
                if target >= barrier:
                    raise MalformedMessage("a compression pointer does not point backwards")
                offset = barrier = target
                continue
            if length > MAX_LABEL:
                raise MalformedMessage(f"label type 0x{length & 0xC0:02x} is not in use")
            label = wire[offset + 1 : offset + 1 + length]
            if len(label) != length:
                raise MalformedMessage("the message ends inside a name")
            size += length + 1
            if size > MAX_NAME:
                raise MalformedMessage("a name is longer than 255 bytes")
            labels.append(label)
            offset += length + 1
    except IndexError:
        raise MalformedMessage("the message ends inside a name") from None


def write_name(name: Name) -> bytes:
    """Return the name uncompressed.

    Raises MalformedMessage for an empty or over-long label and for an over-long name.
    """
    out = bytearray()
    for label in name:
        if not 0 < len(label) <= MAX_LABEL:
            raise MalformedMessage(f"label {label!r} must have 1 to 63 bytes")
        out.append(len(label))
        out += label
    out.append(0)
    if len(out) > MAX_NAME:
        raise MalformedMessage("a name is longer than 255 bytes")
    return bytes(out)


def parse_name(text: str) -> Name | None:
    """Return the labels of a name that a user gave, or None where DNS cannot carry it.

    A container may have an alias that no query can ask for (a 64-byte label, two dots in a row);
    such a name is no error here, it is just never answered.
    """
    labels = tuple(text.removesuffix(".").encode("utf-8", "surrogateescape").split(b"."))
    if any(not 0 < len(label) <= MAX_LABEL for label in labels):
        return None
    if sum(map(len, labels)) + len(labels) + 1 > MAX_NAME:
        return None
    return labels


def render_text(name: Name) -> str:
    """Return the name for people and logs, fully qualified; odd bytes become `\\DDD`."""
    out = []
    for label in name:
        for byte in label:
            if byte in b'."\\':
                out.append("\\" + chr(byte))
            elif 0x21 <= byte <= 0x7E:
                out.append(chr(byte))
            else:
                out.append(f"\\{byte:03d}")
        out.append(".")
    return "".join(out) or "."


_V4_SUFFIX = (b"in-addr", b"arpa")
_V6_SUFFIX = (b"ip6", b"arpa")


def reverse_name(address: Address) -> Name:
    """Return the name under which an address is looked up backwards."""
    return tuple(label.encode() for label in address.reverse_pointer.split("."))


def parse_reverse(name: Name) -> tuple[Address, int] | None:
    """Return what a folded reverse name stands for: the address and how many bits it gives.

    `2.18.172.in-addr.arpa` is (172.18.2.0, 24); a full name gives all bits. None if it is no such
    name.
    """
    suffix, labels = name[-2:], name[:-2]
    if suffix == _V4_SUFFIX and len(labels) <= 4:
        value = 0
        for label in reversed(labels):
            # Only the canonical form: "01" is another name than "1".
            if not label.isdigit() or len(label) > 3 or str(int(label)).encode() != label:
                return None
            if int(label) > 255:
                return None
            value = value << 8 | int(label)
        bits = 8 * len(labels)
        return IPv4Address(value << (32 - bits)), bits
    if suffix == _V6_SUFFIX and len(labels) <= 32:
        value = 0
        for label in reversed(labels):
            if len(label) != 1 or label not in b"0123456789abcdef":
                return None
            value = value << 4 | int(label, 16)
        bits = 4 * len(labels)
        return IPv6Address(value << (128 - bits)), bits
    return None


def parse_address(text: str, what: str) -> Address:
    """Return the address, or raise InvalidRequest that names `what` it was for."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidRequest(f"{what}: {text!r} is not an IP address") from error
