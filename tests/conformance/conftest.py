"""Two engines for the whole session, with the same images, and the comparison of what they answer."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from carrick.testing.daemon import Daemon

from .client import Client
from .engines import DOCKERD, Docker

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 300
# What the second image says about its containers: everything that an image can say.
_CHANGES = (
    'ENTRYPOINT ["/bin/sh", "-c"]', 'CMD ["sleep 1d"]', "ENV COLOUR=red SIZE=9", "EXPOSE 80 53/udp",
    "WORKDIR /srv/work", "USER nobody", "VOLUME /data", "LABEL kind=fancy",
    'ONBUILD RUN true', 'HEALTHCHECK --interval=1h --timeout=5s --retries=2 CMD ["true"]',
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """The sockets of both engines."""

    docker: Path
    carrick: Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both engines, running, with the images `busybox` and `fancy`."""
    if os.geteuid() != 0:
        pytest.skip("starts two engines: needs root")
    if not Path(DOCKERD).exists():
        pytest.skip("no Docker Engine to compare with: install Debian's docker.io (scripts/bootstrap dev)")
    with ExitStack() as stack:
        docker, carrick = stack.enter_context(Docker()), stack.enter_context(Daemon())
        _install_images(Client(docker.socket), Client(carrick.socket))
        yield Pair(docker.socket, carrick.socket)
        assert not carrick.tracebacks()


def _install_images(docker: Client, carrick: Client) -> None:
    """Have Docker make the images, and load into both what it saves of them."""
    archive = subprocess.run([_ROOT / "scripts" / "busybox-image"], capture_output=True, check=True).stdout
    for name, changes in (("busybox", ('CMD ["sh"]',)), ("fancy", _CHANGES)):
        query = "".join(f"&changes={quote(change)}" for change in changes)
        made = docker.quiet(
            "POST", f"/images/create?fromSrc=-&repo={name}&tag=latest{query}", raw=archive,
            headers={"Content-Type": "application/x-tar"},
        )  # fmt: skip
        assert made.status == 200 and b"error" not in made.body, made
    for name in ("busybox", "fancy"):
        saved = docker.quiet("GET", f"/images/{name}/get")
        docker.quiet("DELETE", f"/images/{name}")
        for client in (docker, carrick):
            loaded = client.quiet(
                "POST", "/images/load?quiet=1", raw=saved.body, headers={"Content-Type": "application/x-tar"}
            )
            assert loaded.status == 200 and b"errorDetail" not in loaded.body, loaded
