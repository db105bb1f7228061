"""End-to-end: real daemons on machines of their own, with real containers. Needs root.

`host` is one daemon for a module, `daemon` the same for one test, which finds it without containers and
networks. When a module is done, nobody's log may hold a traceback.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.testing.daemon import Daemon, images_with

_ROOT = Path(__file__).parents[2]
# Whatever they do, these bring daemons up and down: under load they take a multiple of their usual time.
_TIMEOUT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="makes namespaces and runs containers: needs root"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system of busybox, as a tar archive."""
    path = tmp_path_factory.mktemp("image") / "busybox.tar"
    with path.open("wb") as file:
        subprocess.run([_ROOT / "scripts" / "busybox-image"], stdout=file, check=True)
    return path


@pytest.fixture(scope="session")
def images(busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of images for `Daemon`: `busybox`, and `exposing`, which exposes ports."""
    return images_with(
        tmp_path_factory.mktemp("images") / "images",
        [
            (busybox_tar, "busybox", ['CMD ["sh"]']),
            (
                busybox_tar,
                "exposing",
                ['CMD ["sleep", "1d"]', "EXPOSE 80 53/udp 8000-8001", "ENV COLOUR=red"],
            ),
        ],
    )


@pytest.fixture(scope="module")
def host(images: Path) -> Iterator[Daemon]:
    """A daemon with a neighbour outside, for the whole module."""
    with Daemon(images=images, outside=True) as daemon:
        yield daemon
        assert not daemon.tracebacks()


@pytest.fixture
def daemon(host: Daemon) -> Iterator[Daemon]:
    """The module's daemon, emptied after the test."""
    yield host
    if not host.is_running():
        host.restart()
    host.remove_all()
