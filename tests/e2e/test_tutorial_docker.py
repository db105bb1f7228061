"""The container-networking tutorial again, word for word, with `docker` in place of `carrick`.

Every command and every line that it prints is that of the page, but for two things. What only `carrick`
can say stays `carrick`'s. And Debian's client, of 2020, words a few things differently from today's, whose
words the page shows; they are listed here. Its `port` sorts differently, too.
"""

import os
import re
import secrets
from collections.abc import Iterator

import pytest
from test_docs import ROOT, World, commands, difference

_PAGE = ROOT / "docs/tutorial/container-networking.md"
_CLIENTS = [path for path in ("/usr/bin/docker", "/usr/local/bin/docker") if os.access(path, os.X_OK)]

# What has no word in Docker's language.
_CARRICKS_OWN = re.compile(r"carrick (port (add|rm)|doctor|(network create .*)?--dry-run)\b")

# The program's name as a command, and where it names itself. Not `carrick0`, nor a path.
_PROGRAM = re.compile(r"(?<![\w./-])carrick(?![\w./-])")

_OLDER_WORDS = (
    # It says nothing about its own exit code,
    (r"^exit status 1\n", ""),
    # shows IPv6 without brackets,
    (r"\[::\]:", ":::"),
    # and ends an error with a full stop instead of a word on its help.
    (r"^(docker: Error response from daemon: .*)\nRun 'docker run --help' for more information$", r"\1."),
)


def in_docker(text: str) -> str:
    """Return the page's console blocks as somebody with `docker` would have written them."""
    lines = []
    is_own = False
    for line in text.splitlines():
        if re.match(r"(laptop)?\$ ", line):
            is_own = bool(_CARRICKS_OWN.search(line))
        lines.append(line if is_own else _PROGRAM.sub("docker", line))
    return "\n".join(lines) + "\n"


def is_old(world: World, client: str) -> bool:
    _, version = world.run(f"{client} --version")
    found = re.search(r"version (\d+)\.", version)
    assert found, version
    return int(found[1]) < 23


@pytest.fixture
def world() -> Iterator[World]:
    made = World(secrets.token_hex(3))
    try:
        yield made
    finally:
        made.close()


def test_what_stays_carricks() -> None:
    page = commands(in_docker(_PAGE.read_text()))
    own = [command.text for command in page if command.text.startswith("carrick ")]
    assert own == ["carrick port add web -p 127.0.0.1:8081:80", "carrick port rm web 127.0.0.1:8081:80"]
    assert sum("docker " in command.text for command in page) > 40


def test_a_client_is_installed() -> None:
    assert _CLIENTS, "no docker client is installed: apt-get install docker.io"


@pytest.mark.parametrize("client", _CLIENTS)
def test_the_tutorial(world: World, client: str) -> None:
    text = in_docker(_PAGE.read_text())
    if is_old(world, client):
        for pattern, replacement in _OLDER_WORDS:
            text = re.sub(pattern, replacement, text, flags=re.M)
    code, output = world.run(f"mkdir /run/client && ln -s {client} /run/client/docker")
    assert code == 0, output
    setting = "export DOCKER_HOST=unix:///run/carrick/carrick.sock PATH=/run/client:$PATH\n"
    for command in commands(text):
        where = f"{_PAGE.name}:{command.line}: $ {command.text}"
        command.text = setting + command.text
        if command.typed:
            code, output = world.converse(command)
        else:
            code, output = world.run(command.text, command.host)
        assert code == command.code, f"{where}\nexit code {code}\n{output}\n{world.log()}"
        wanted, got = command.output, output.splitlines()
        if is_old(world, client) and "docker port " in command.text:
            wanted, got = sorted(wanted), sorted(got)
        if wanted and (found := difference(wanted, got)):
            pytest.fail(f"{where}\n{found}", pytrace=False)
