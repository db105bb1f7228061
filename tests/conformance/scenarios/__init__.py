"""The script: what is asked of both engines, by kind. The name of a scenario is that of its function."""

from collections.abc import Callable
from types import ModuleType

from ..client import Client
from . import (
    bad_requests,
    creation,
    files,
    images,
    lifecycle,
    listing,
    networks,
    running,
    streams,
    system,
    volumes,
)

SCENARIOS: dict[str, Callable[[Client], None]] = {}


def _collect(module: ModuleType) -> None:
    kind = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and name[0] != "_":
            SCENARIOS[f"{kind}.{name}"] = value


for _module in (
    system,
    bad_requests,
    creation,
    lifecycle,
    listing,
    running,
    streams,
    files,
    networks,
    volumes,
    images,
):
    _collect(_module)
