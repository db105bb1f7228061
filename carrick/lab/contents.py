"""The images that every host of a lab begins with: read before anything is made, then given to each host."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

from ..model.errors import InvalidRequest
from . import daemons, images
from .processes import Process


class Contents:
    """The images that every host gets."""

    def __init__(self, busybox: bytes | None, archives: Sequence[tuple[Path, bytes, bool]]) -> None:
        self._busybox = busybox
        self._archives = archives

    def give(self, process: Process) -> None:
        """Load them on a host."""
        if self._busybox is not None:
            daemons.import_image(process, self._busybox, images.BUSYBOX)
        for path, data, is_saved in self._archives:
            if is_saved:
                daemons.load_images(process, data, path.name)
            else:
                daemons.import_image(process, data, path.name.partition(".")[0].lower())


def read_contents(archives: Sequence[Path], *, busybox: bool) -> Contents:
    """Read archives, and make busybox's. Raises InvalidRequest, naming the file, or Unsupported."""
    read = []
    for path in archives:
        try:
            read.append((path, path.read_bytes(), images.is_saved_image(path)))
        except OSError as error:
            raise InvalidRequest(f"image {path}: {error.strerror or error}") from error
        except tarfile.TarError as error:
            raise InvalidRequest(f"image {path} is no tar archive: {error}") from error
    return Contents(images.busybox_archive() if busybox else None, read)
