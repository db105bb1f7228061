"""-p, --expose: every form, every error, and never a traceback."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.doors.cli.specs.ports import parse_expose, parse_publish, parse_publishes


def one(port: str, host: str = "", ip: str = "") -> dict[str, list[dict[str, str]]]:
    return {port: [{"HostIp": ip, "HostPort": host}]}


@pytest.mark.parametrize(
    ("spec", "bindings"),
    [
        ("80", one("80/tcp")),
        ("80/udp", one("80/udp")),
        ("80/UDP", one("80/udp")),
        ("9/sctp", one("9/sctp")),
        ("8080:80", one("80/tcp", "8080")),
        (":80", one("80/tcp")),
        ("127.0.0.1:8080:80", one("80/tcp", "8080", "127.0.0.1")),
        ("127.0.0.1::80", one("80/tcp", "", "127.0.0.1")),
        ("[::1]:8080:80/tcp", one("80/tcp", "8080", "::1")),
        ("::1:8080:80", one("80/tcp", "8080", "::1")),
        ("[::]::80", one("80/tcp", "", "::")),
        ("8000-8010:80", one("80/tcp", "8000-8010")),
        ("80-81", one("80/tcp") | one("81/tcp")),
        ("8080-8081:80-81/udp", one("80/udp", "8080") | one("81/udp", "8081")),
        ("published=8080,target=80", one("80/tcp", "8080")),
        ("target=80,published=8080,protocol=udp,mode=host", one("80/udp", "8080")),
        ("target=80", one("80/tcp")),
        ("host_ip=127.0.0.1,target=80,published=81", one("80/tcp", "81", "127.0.0.1")),
    ],
)
def test_forms(spec: str, bindings: object) -> None:
    assert parse_publish(spec) == bindings


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("99999:80", "invalid hostPort: 99999"),
        ("foo", "invalid containerPort: foo"),
        ("80-81:80-83", "invalid ranges specified for container and host Ports: 80-83 and 80-81"),
        ("1.2.3:80:80", "invalid IP address: 1.2.3"),
        ("80:80/foo", "invalid proto: foo"),
        (":", "no port specified: :<empty>"),
        ("", "no port specified: <empty>"),
        ("80:81:82:83", "invalid IP address: 80:81"),
        ("1.2.3.4:80", "invalid hostPort: 1.2.3.4"),
        ("10-5:80", "invalid hostPort: 10-5"),
        ("80:10-5", "invalid containerPort: 10-5"),
        ("[::1:80:80", "invalid IP address [::1: missing ']' in address"),
        ("-1:80", "invalid hostPort: -1"),
        ("٣:80", "invalid hostPort: ٣"),
        ("published=8080", "no port specified: published=8080: target is missing"),
        ("target=80,foo=1", "invalid publish option 'foo' in 'foo=1'"),
        ("target=80,foo", "invalid publish opts format (should be name=value but got 'foo')"),
    ],
)
def test_errors(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_publish(spec)
    assert str(caught.value) == message


def test_a_port_may_be_published_twice() -> None:
    assert parse_publishes(["8080:80", "127.0.0.1:8081:80"]) == {
        "80/tcp": [
            {"HostIp": "", "HostPort": "8080"},
            {"HostIp": "127.0.0.1", "HostPort": "8081"},
        ]
    }


@given(st.text(alphabet='0123456789:-/.[]=,tcpudsab \n"', max_size=30) | st.text(max_size=20))
def test_anything_is_bindings_or_a_value_error(spec: str) -> None:
    try:
        bindings = parse_publish(spec)
    except ValueError as error:
        assert str(error)
        return
    for port, places in bindings.items():
        number, _, protocol = port.partition("/")
        assert 0 <= int(number) <= 65535 and protocol in ("tcp", "udp", "sctp")
        assert places


@given(
    first=st.integers(0, 65535),
    span=st.integers(0, 20),
    host=st.integers(0, 65535),
    protocol=st.sampled_from(["", "/tcp", "/udp", "/sctp"]),
)
def test_ranges_go_together(first: int, span: int, host: int, protocol: str) -> None:
    if first + span > 65535 or host + span > 65535:
        return
    bindings = parse_publish(f"{host}-{host + span}:{first}-{first + span}{protocol}")
    assert len(bindings) == span + 1
    for port, (place,) in bindings.items():
        assert int(place["HostPort"].split("-")[0]) - host == int(port.split("/")[0]) - first


def test_expose() -> None:
    assert parse_expose(["80", "90-91/udp"]) == ["80/tcp", "90/udp", "91/udp"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "foo",
            'invalid range format for --expose: foo, error: strconv.ParseUint: parsing "foo": invalid syntax',
        ),
        (
            "1-0",
            "invalid range format for --expose: 1-0, error: invalid range specified for port: 1-0",
        ),
        ("80:80", "invalid port format for --expose: 80:80"),
        ("80/foo", "invalid proto: foo"),
    ],
)
def test_expose_errors(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_expose([spec])
    assert str(caught.value) == message
