"""A container in `carrick ps`."""

from __future__ import annotations

from carrick.doors.cli.records.text import ago, ellipsis, joined, quoted, short_id, since_epoch
from carrick.doors.cli.template.values import Method, Record
from carrick.doors.cli.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, ClassVar

_COMMAND_WIDTH = 20
_MOUNT_WIDTH = 15


class ContainerRecord(Record):
    """One entry of GET /containers/json."""

    TYPE = "*formatter.ContainerContext"

    def __init__(self, data: Mapping[str, Any], *, truncate: bool, now_s: float) -> None:
        self.data = data
        self.truncate = truncate
        self.now_s = now_s

    def _names(self) -> str:
        names = [name.removeprefix("/") for name in self.data.get("Names") or ()]
        if self.truncate:
            names = [name for name in names if "/" not in name]  # the rest are links' names
        return ",".join(names)

    def _image(self) -> str:
        image = str(self.data.get("Image") or "")
        if not image:
            return "<no image>"
        if self.truncate:
            short = short_id(str(self.data.get("ImageID") or ""))
            if short and short == short_id(image):
                return short
            name, _, digest = image.partition("@")
            if digest and ":" in name.rsplit("/", 1)[-1]:
                return name
        return image

    def _command(self) -> str:
        command = str(self.data.get("Command") or "")
        return quoted(ellipsis(command, _COMMAND_WIDTH) if self.truncate else command)

    def _size(self) -> str:
        text = human_size(self.data.get("SizeRw") or 0, 3)
        if root := self.data.get("SizeRootFs"):
            text += f" (virtual {human_size(root, 3)})"
        return text

    def _mounts(self) -> str:
        names = []
        for mount in self.data.get("Mounts") or ():
            name = str(mount.get("Name") or mount.get("Source") or "")
            names.append(ellipsis(name, _MOUNT_WIDTH) if self.truncate else name)
        return ",".join(names)

    def _local_volumes(self) -> str:
        mounts = self.data.get("Mounts") or ()
        return str(sum(mount.get("Driver") == "local" for mount in mounts))

    def _networks(self) -> str:
        settings = self.data.get("NetworkSettings") or {}
        return ",".join(settings.get("Networks") or {})

    def _id(self) -> str:
        identity = str(self.data.get("Id") or "")
        return short_id(identity) if self.truncate else identity

    def _label(self) -> Method:
        return Method("Label", lambda key: str((self.data.get("Labels") or {}).get(key, "")))

    FIELDS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "ID": _id,
        "Image": _image,
        "Command": _command,
        "CreatedAt": lambda self: since_epoch(self.data.get("Created") or 0),
        "RunningFor": lambda self: ago(self.data.get("Created") or 0, self.now_s),
        "Ports": lambda self: ports_text(self.data.get("Ports") or ()),
        "State": lambda self: str(self.data.get("State") or ""),
        "Status": lambda self: str(self.data.get("Status") or ""),
        "Size": _size,
        "Names": _names,
        "Labels": lambda self: joined(self.data.get("Labels")),
        "Label": _label,
        "Mounts": _mounts,
        "LocalVolumes": _local_volumes,
        "Networks": _networks,
        "Platform": lambda self: self.data.get("ImageManifestDescriptor", {}).get("platform"),
    }
    HEADERS: ClassVar[Mapping[str, str]] = {
        "ID": "CONTAINER ID",
        "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED",
        "LocalVolumes": "LOCAL VOLUMES",
    }


def ports_text(ports: Sequence[Mapping[str, Any]]) -> str:
    """Return a container's ports: `7000-7003/tcp, 0.0.0.0:80->80/tcp, [::]:8080->80/tcp`.

    Neighbouring ports are one range where they are published under their own numbers, or not at
    all; ports published under another number stand alone, after the ranges.
    """
    ranges: dict[tuple[str, str], list[list[int]]] = {}
    closed: list[str] = []
    single: list[str] = []
    for port in sorted(ports, key=_port_order):
        address, protocol = str(port.get("IP") or ""), str(port.get("Type") or "tcp")
        private, public = int(port.get("PrivatePort") or 0), int(port.get("PublicPort") or 0)
        if address and public != private:
            single.append(f"{host_port(address, public)}->{private}/{protocol}")
            continue
        spans = ranges.setdefault((address, protocol), [])
        if spans and private == spans[-1][1] + 1:
            spans[-1][1] = private
        elif not spans:
            spans.append([private, private])
        else:
            # A gap: the range before it is complete, and is printed before all open ones.
            closed.append(_span_text(address, protocol, *spans.pop()))
            spans.append([private, private])
    opened = [_span_text(*key, *spans[-1]) for key, spans in ranges.items()]
    return ", ".join((*closed, *opened, *single))


def _port_order(port: Mapping[str, Any]) -> tuple[int, str, int, str]:
    return (
        int(port.get("PrivatePort") or 0),
        str(port.get("IP") or ""),
        int(port.get("PublicPort") or 0),
        str(port.get("Type") or ""),
    )


def _span_text(address: str, protocol: str, first: int, last: int) -> str:
    span = str(first) if first == last else f"{first}-{last}"
    return f"{host_port(address, span)}->{span}/{protocol}" if address else f"{span}/{protocol}"


def host_port(address: str, port: object) -> str:
    """Return `address:port`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
