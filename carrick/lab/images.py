"""A root file system of busybox as a tar archive: the image that every host of a lab begins with."""

import io
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

from ..model.errors import Unsupported

BUSYBOX = "busybox"
_DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var", "var/www")
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_SAVED = {"manifest.json", "index.json", "oci-layout"}


def busybox_archive() -> bytes:
    """Return the archive, the same for the same busybox. Raises Unsupported without a static busybox."""
    program = shutil.which("busybox")
    if program is None:
        raise Unsupported(
            "the lab's image is made of busybox, which is not there",
            remedy="Install it: apt-get install busybox-static; or do without: --busybox=false.",
        )
    data = Path(program).read_bytes()
    if _is_dynamic(data):
        raise Unsupported(
            f"{program} needs shared libraries, which an image made of it alone has not",
            remedy="Install the static one: apt-get install busybox-static; or do without: --busybox=false.",
        )
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in _DIRECTORIES:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        _add(archive, "bin/busybox", data, 0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type = tarfile.SYMTYPE
            entry.linkname = "busybox"
            archive.addfile(entry)
        for name, text in _FILES.items():
            _add(archive, name, text.encode(), 0o644)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = mode
    archive.addfile(entry, io.BytesIO(data))


def _is_dynamic(data: bytes) -> bool:
    """Say whether an ELF program asks for an interpreter (a program header of type PT_INTERP)."""
    if data[:5] != b"\x7fELF\x02":
        return False
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return any(struct.unpack_from("<I", data, offset + n * size)[0] == 3 for n in range(count))


def is_saved_image(path: Path) -> bool:
    """Say whether an archive is of images, as `save` writes them, and not of a root file system."""
    with tarfile.open(path) as archive:
        return any(name.removeprefix("./") in _SAVED for name in archive.getnames())
