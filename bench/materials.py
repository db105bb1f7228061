"""What a run is made of: an image from busybox-static, and the C programs of `src/`."""

import io
import subprocess
import tarfile
from pathlib import Path

from .errors import BenchError

IMAGE = "bench"
_BUSYBOX = Path("/bin/busybox")
_SOURCES = Path(__file__).parent / "src"


def build_image(target: Path) -> None:
    """Write a root file system with busybox and its applets as a tarball for `import`."""
    applets = subprocess.run(
        (_BUSYBOX, "--list-full"), capture_output=True, text=True, check=True
    ).stdout.split()
    with tarfile.open(target, "w") as archive:
        for name in ("bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "tmp", "root", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        for name, text in (("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
        archive.add(_BUSYBOX.resolve(), "bin/busybox", recursive=False)
        for applet in applets:
            if applet not in ("bin/busybox", "linuxrc"):
                entry = tarfile.TarInfo(applet)
                entry.type, entry.linkname = tarfile.SYMTYPE, "/bin/busybox"
                archive.addfile(entry)


def compile_tool(name: str, directory: Path) -> Path:
    """Compile `src/NAME.c` and return the program."""
    program = directory / name
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(_SOURCES / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    return program
