"""Unpack an image's layers into one directory, by umoci, which knows gzip alone."""

from collections.abc import Collection
from pathlib import Path

from ...model.errors import Failed
from ...model.ids import short
from . import archives, oci
from .blobs import link_or_copy
from .image_store import Progress, ProgressCallback
from .imageindex import StoredImage
from .processes import run


class Extraction:
    """The extraction of layers as a pull shows it, from what umoci says: it begins one after the other."""

    def __init__(self, layers: Collection[str], report: ProgressCallback) -> None:
        self._waiting = list(layers)
        self._report = report
        self._current = ""

    def on_line(self, line: str) -> None:
        """Take a line of umoci's."""
        for layer in self._waiting:
            if layer in line and layer != self._current:
                self._complete()
                self._current = layer
                self._report(Progress("Extracting", id=short(layer)))
                return

    def _complete(self) -> None:
        if self._current:
            self._waiting.remove(self._current)
            self._report(Progress("Pull complete", id=short(self._current)))
            self._current = ""

    def finish(self) -> None:
        """Tell that all are there."""
        self._complete()
        for layer in self._waiting:
            self._report(Progress("Pull complete", id=short(layer)))
        self._waiting.clear()


def make_layout(stored: StoredImage, blobs: Path, layout: Path) -> dict[str, str]:
    """Lay an image out for umoci; layers that are not gzip go in plain. Blocks: call it in a thread.

    Returns which digest stands for which layer, where it is another.
    """
    target = layout / "blobs" / "sha256"
    target.mkdir(parents=True)
    manifest = oci.parse_manifest((blobs / stored.manifest).read_bytes())
    link_or_copy(blobs / manifest.config.hex, target / manifest.config.hex)
    layers, renamed = [], {}
    for layer, diff_id in zip(manifest.layers, stored.image.layers, strict=True):
        if archives.compression_of(blobs / layer.hex) in ("", "gzip"):
            link_or_copy(blobs / layer.hex, target / layer.hex)
            layers.append(layer)
            continue
        plain = oci.Descriptor(diff_id, media_type=oci.OCI_LAYER)
        archives.decompress(blobs / layer.hex, target / plain.hex)
        plain.size = (target / plain.hex).stat().st_size
        renamed[diff_id] = layer.digest
        layers.append(plain)
    text = oci.as_oci(oci.Manifest(manifest.config, layers))
    (target / oci.digest_of(text).removeprefix("sha256:")).write_bytes(text)
    oci.write_layout(layout, text, "image")
    return renamed


async def unpack(umoci: str, layout: Path, target: Path, shown: Extraction, renamed: dict[str, str]) -> None:
    """Unpack a layout's image into `target`. Raises Failed with umoci's last words."""

    def on_line(line: str) -> None:
        for digest, original in renamed.items():
            line = line.replace(digest, original)
        shown.on_line(line)

    completed = await run(
        [umoci, "--log", "info", "raw", "unpack", "--image", f"{layout}:image", str(target)],
        on_line=on_line,
    )
    if completed.returncode != 0:
        lines = completed.error_text.splitlines()
        raise Failed(lines[-1] if lines else "no reason given")
    shown.finish()
