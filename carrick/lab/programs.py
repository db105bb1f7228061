"""What a lab needs of the machine, asked before anything is made."""

import os
import shutil
from pathlib import Path

from ..model.errors import Denied, Unsupported
from .plan import LabSpec

# Program and its Debian package.
_ALWAYS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "runc": "runc",
    "conmon": "conmon",
    "umoci": "umoci",
}


def check_root() -> None:
    """Raise Denied unless we are root."""
    if os.geteuid() != 0:
        raise Denied(
            "a lab makes network namespaces and mounts, for which it has to be root", remedy="Use sudo."
        )


def check_programs(spec: LabSpec) -> None:
    """Raise Unsupported, naming the packages to install, if a program is missing."""
    needed = {**_ALWAYS, **({"etcd": "etcd-server"} if spec.etcd else {})}
    missing = {name: package for name, package in needed.items() if shutil.which(name) is None}
    if missing:
        raise Unsupported(
            f"not installed here: {', '.join(sorted(missing))}",
            remedy=f"apt-get install {' '.join(sorted(set(missing.values())))}"
            + ("; or leave etcd out: --etcd none." if "etcd" in missing else "."),
        )


def check_state_dir(path: Path, mounts: str) -> None:
    """Raise Unsupported if the directory is on overlayfs. `mounts` is the text of /proc/self/mounts."""
    longest, kind = "", ""
    for line in mounts.splitlines():
        _, place, found, *_ = line.split()
        place = place.replace("\\040", " ")
        # Of two mounts on one place the later one is seen.
        if path.is_relative_to(place) and len(place) >= len(longest):
            longest, kind = place, found
    if kind == "overlay":
        raise Unsupported(
            f"{path} is on overlayfs, where containers' file systems cannot be",
            remedy="Name a directory of another file system with --state-dir; a tmpfs will do.",
        )
