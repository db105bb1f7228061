"""The frames that announce an address, byte by byte."""

import struct

from carrick.host.kernel.announce import render_announcement

MAC = "02:00:5e:10:00:01"


def test_gratuitous_arp() -> None:
    assert render_announcement(MAC, "10.1.0.9") == bytes.fromhex(
        "ffffffffffff 02005e100001 0806"  # to everyone, from us, ARP
        "0001 0800 06 04 0001"  # Ethernet, IPv4, a request
        "02005e100001 0a010009"  # who we are
        "000000000000 0a010009"  # and whom we ask for: ourselves
    )


def test_unsolicited_neighbour_advertisement() -> None:
    frame = render_announcement(MAC, "fd00::9")
    assert frame[:14].hex() == "33330000000102005e10000186dd"
    header, message = frame[14:54], frame[54:]
    assert struct.unpack("!IHBB", header[:8]) == (6 << 28, 32, 58, 255)
    assert message[0] == 136
    assert message[4] == 0x20  # override
    assert message[24:] == b"\x02\x01" + bytes.fromhex("02005e100001")
    # With its checksum in place a message sums up to all ones (RFC 1071).
    pseudo = header[8:40] + struct.pack("!II", len(message), 58)
    total = sum(struct.unpack(f"!{(len(pseudo) + len(message)) // 2}H", pseudo + message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
