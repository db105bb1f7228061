"""Resident memory of what an engine runs on its host, by what it is for; without the containers."""

from ..metrics import MEMORY_PARTS
from ..processes import processes_in
from ..systems.contract import System
from .context import Context


def weigh(context: Context, system: System, stage: str) -> None:
    """Record the sums at `stage` (`fresh` or `full`)."""
    sums = dict.fromkeys(MEMORY_PARTS, 0.0)
    shared = 0.0
    for process in processes_in(system.host.namespace.inode):
        if part := system.part_of(process):
            sums[part] += process.rss_mib
            shared += process.pss_mib
    for name, size in sums.items():
        context.recorder.add(f"memory.{stage}.{name}", system.name, size)
    context.recorder.add(f"memory.{stage}.pss", system.name, shared)


def measure_fresh_memory(context: Context) -> None:
    """Weigh engines that have an image and nothing else. Comes first: later they have worked."""
    for system in context.systems:
        with context.recorder.attempt(system.name, "memory, fresh", "memory.fresh."):
            weigh(context, system, "fresh")
