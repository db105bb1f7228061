"""Make network namespaces and delete them, and say in which of them a command is meant."""

from dataclasses import dataclass


def inside(netns: str) -> str:
    """Return what an administrator types before a command that is for the namespace `netns`."""
    return f"nsenter --net={netns} " if netns else ""


@dataclass(frozen=True, slots=True)
class CreateNetns:
    path: str

    def describe(self) -> str:
        return f"ip netns add {self.path}"


@dataclass(frozen=True, slots=True)
class DeleteNetns:
    path: str

    def describe(self) -> str:
        return f"ip netns delete {self.path}"
