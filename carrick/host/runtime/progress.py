"""The progress of a pull, as Docker shows it, from what can be seen of skopeo.

skopeo says which blobs it copies, and writes them into a directory: a file of a temporary name
grows, and gets the digest as its name when it is whole. Which temporary file is which blob is not
said, so they are matched in the order of their beginning; only the display depends on it.
"""

import asyncio
import re
from pathlib import Path

from ...model.ids import short
from .api import Progress, ProgressCallback

_COPYING = re.compile(r"Copying blob (sha256:[a-f0-9]{64})")
_INTERVAL_S = 0.2


class PullProgress:
    """Turns lines and files into events."""

    def __init__(self, directory: Path, report: ProgressCallback) -> None:
        self._directory = directory
        self._report = report
        self._layers: dict[str, bool] = {}
        """Digest, and whether it is complete."""
        self._sizes: dict[str, int] = {}

    def on_line(self, line: str) -> None:
        """Take a line of skopeo's."""
        found = _COPYING.search(line)
        if found is not None and found[1] not in self._layers:
            self._layers[found[1]] = False
            self._report(Progress("Pulling fs layer", id=short(found[1])))

    async def watch(self) -> None:
        """Look at the directory again and again, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            self._look()

    def _look(self) -> None:
        try:
            entries = list(self._directory.iterdir())
        except FileNotFoundError:
            return
        names = {entry.name for entry in entries}
        for digest, is_complete in self._layers.items():
            if not is_complete and digest.removeprefix("sha256:") in names:
                self._complete(digest)
        growing = []
        for entry in entries:
            if entry.name.startswith("dir-put-blob"):
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                growing.append((status.st_ino, status.st_size))
        open_layers = [digest for digest, is_complete in self._layers.items() if not is_complete]
        for digest, (_, size) in zip(open_layers, sorted(growing), strict=False):
            if size > self._sizes.get(digest, 0):
                self._sizes[digest] = size
                self._report(Progress("Downloading", id=short(digest), current=size))

    def _complete(self, digest: str) -> None:
        self._layers[digest] = True
        self._report(Progress("Download complete", id=short(digest)))

    def finish(self) -> None:
        """Tell that all layers are here."""
        for digest, is_complete in self._layers.items():
            if not is_complete:
                self._complete(digest)
            self._report(Progress("Pull complete", id=short(digest)))
