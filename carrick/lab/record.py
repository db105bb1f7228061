"""What is written down about a lab, and the lock on it.

`lab.json` in the lab's directory is replaced in one step, and says what is to be taken down before it is put
up. The lock is a file beside it, held by whoever changes the lab; the kernel frees it if that one dies.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..model.errors import Conflict, Failed
from .plan import LabSpec
from .processes import Process

_FORMAT = 1
_RECORD, _LOCK = "lab.json", "lock"
MARKER = ".carrick-lab"
"""A file in every directory that is a lab's to remove."""
BASE_NAME = "carrick-lab"
"""The name of a directory of labs, which goes with the last of them."""
_LOCK_S = 120.0


class Phase(StrEnum):
    """How far a lab is. One that is not up and not locked was left behind, and is to be taken down."""

    RISING = "rising"
    UP = "up"
    FALLING = "falling"


@dataclass(frozen=True, slots=True)
class Faults:
    """What is broken on purpose.

    `cuts` are ordered pairs: what the first sends to the second is dropped. `loss` is of 10 000 packets.
    `rates` are tc's words (`10mbit`), by name: what goes to it is held to that rate.
    """

    cuts: frozenset[tuple[str, str]] = frozenset()
    loss: int = 0
    rates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One lab. `cgroup` is the parent of all its cgroups. `processes` are the nodes' first, by name."""

    name: str
    cgroup: str
    state_dir: Path
    spec: LabSpec
    phase: Phase = Phase.RISING
    processes: Mapping[str, Process] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)

    def with_process(self, name: str, process: Process | None) -> "Record":
        """Return the record with a node's first process, or without."""
        processes = {key: value for key, value in self.processes.items() if key != name}
        if process is not None:
            processes[name] = process
        return replace(self, processes=processes)


def encode(record: Record) -> str:
    """Return the record as it stands in the file."""
    value = asdict(record)
    value["state_dir"] = str(record.state_dir)
    value["faults"]["cuts"] = sorted(record.faults.cuts)
    return json.dumps({"format": _FORMAT, **value}, indent=1) + "\n"


def decode(text: str, source: str) -> Record:
    """Return the record that a file's text is. Raises Failed, naming the file."""
    try:
        value: dict[str, Any] = json.loads(text)
        if value["format"] != _FORMAT:
            raise ValueError(f"its format is {value['format']}, this Carrick knows {_FORMAT}")
        faults = value["faults"]
        return Record(
            name=value["name"],
            cgroup=value["cgroup"],
            state_dir=Path(value["state_dir"]),
            spec=LabSpec(**value["spec"]),
            phase=Phase(value["phase"]),
            processes={key: Process(**item) for key, item in value["processes"].items()},
            faults=Faults(
                frozenset((first, second) for first, second in faults["cuts"]),
                faults["loss"],
                faults["rates"],
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(
            f"{source} is no record of a lab: {error!r}",
            remedy="End the lab's processes by hand, then remove its directories.",
        ) from error


class LabDirectory:
    """Where a lab's record, lock and logs are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Record | None:
        """Return the record; None if there is no lab. Needs no lock: the file is replaced whole."""
        path = self.path / _RECORD
        try:
            return decode(path.read_text(), str(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, record: Record) -> None:
        """Replace the record. The lock must be held."""
        path, new = self.path / _RECORD, self.path / f"{_RECORD}.new"
        new.write_text(encode(record))
        new.replace(path)

    def forget(self) -> None:
        """Remove the record: there is no lab any more. The lock must be held."""
        for name in (_RECORD, f"{_RECORD}.new"):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock; the directory is made if need be, and removed at the end if it has no record.

        Raises Conflict if someone else holds the lock for long.
        """
        descriptor = self._lock()
        try:
            yield
        finally:
            if not (self.path / _RECORD).exists():
                # Before the lock is given back: whoever waits for it sees that the file is not it any more.
                (self.path / _LOCK).unlink(missing_ok=True)
                remove_directory(self.path)
            os.close(descriptor)

    def _lock(self) -> int:
        path = self.path / _LOCK
        end = time.monotonic() + _LOCK_S
        while True:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o711)
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_ino == path.stat().st_ino:
                        return descriptor
                except BlockingIOError:
                    if time.monotonic() > end:
                        os.close(descriptor)
                        raise Conflict(
                            f"another command is at work on the lab in {self.path}",
                            remedy="Wait for it to end, then try again.",
                        ) from None
                except FileNotFoundError:
                    pass  # its last holder has removed it
                os.close(descriptor)
            time.sleep(0.05)


def remove_directory(path: Path) -> None:
    """Remove a lab's directory if nothing is in it, and the directory of labs likewise. Repeatable."""
    for place in (path, path.parent):
        if place is path or place.name == BASE_NAME:
            with suppress(OSError):
                place.rmdir()
