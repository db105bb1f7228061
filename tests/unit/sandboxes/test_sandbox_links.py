"""`--link`: its two names, and the environment variables as Docker gives them."""

import pytest

from carrick.domains.sandboxes.links import link_environment, parse_link
from carrick.model.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db", ("db", "db")),
        ("db:pg", ("db", "pg")),
        ("/db:/web/pg", ("db", "pg")),
        ("/db:pg", ("db", "pg")),
    ],
)
def test_names(text: str, expected: tuple[str, str]) -> None:
    assert parse_link(text) == expected


@pytest.mark.parametrize("text", ["", ":", ":pg", "db:", "a:b:c"])
def test_bad_formats(text: str) -> None:
    with pytest.raises(InvalidRequest, match="bad format for links"):
        parse_link(text)


def test_one_port() -> None:
    assert link_environment(
        "web", "pg-main", "172.17.0.2", ["5432/tcp"], ["PATH=/bin", "HOME=/", "A=b", "X"]
    ) == [
        "PG_MAIN_PORT=tcp://172.17.0.2:5432",
        "PG_MAIN_PORT_5432_TCP=tcp://172.17.0.2:5432",
        "PG_MAIN_PORT_5432_TCP_ADDR=172.17.0.2",
        "PG_MAIN_PORT_5432_TCP_PORT=5432",
        "PG_MAIN_PORT_5432_TCP_PROTO=tcp",
        "PG_MAIN_NAME=/web/pg-main",
        "PG_MAIN_ENV_A=b",
    ]


def test_tcp_first_and_the_lowest() -> None:
    lines = link_environment("web", "dns", "10.0.0.2", ["53/udp", "853/tcp", "80"], [])
    assert lines[0] == "DNS_PORT=tcp://10.0.0.2:80"
    names = [line.partition("=")[0] for line in lines]
    assert names.index("DNS_PORT_80_TCP") < names.index("DNS_PORT_853_TCP") < names.index("DNS_PORT_53_UDP")


def test_a_range() -> None:
    lines = link_environment("web", "ftp", "10.0.0.2", ["20/tcp", "21/tcp", "30/tcp"], [])
    assert lines[:5] == [
        "FTP_PORT=tcp://10.0.0.2:20",
        "FTP_PORT_20_TCP_START=tcp://10.0.0.2:20",
        "FTP_PORT_20_TCP_PORT_START=20",
        "FTP_PORT_20_TCP_END=tcp://10.0.0.2:21",
        "FTP_PORT_20_TCP_PORT_END=21",
    ]
    assert "FTP_PORT_30_TCP=tcp://10.0.0.2:30" in lines
    assert not [line for line in lines if line.startswith("FTP_PORT_30_TCP_START")]


def test_no_ports() -> None:
    assert link_environment("web", "db", "10.0.0.2", [], ["A=1=2"]) == ["DB_NAME=/web/db", "DB_ENV_A=1=2"]
