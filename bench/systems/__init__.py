"""The engines under test, each behind one small class."""

from pathlib import Path

from ..namespaces import Host
from .carrick import Carrick
from .contract import System
from .docker import Docker
from .podman import Podman


def open_system(name: str, host: Host, directory: Path, podman_backend: str) -> System:
    """Return the system of that name, not yet started; everything that it writes goes below `directory`."""
    directory.mkdir(mode=0o711)
    if name == "carrick":
        return Carrick(host, directory)
    if name == "docker":
        return Docker(host, directory)
    return Podman(host, directory, podman_backend)
