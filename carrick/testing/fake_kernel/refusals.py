"""How the kernel refuses a step: the errors that `LinuxKernel` would raise, in its words."""

import os

from ...model.errors import Conflict, KernelRefused
from ...model.steps import Step


def refused(step: Step, number: int) -> KernelRefused:
    return KernelRefused(f"{step.describe()}: {os.strerror(number)}", errno=number, subject=step.describe())


def taken(step: Step) -> Conflict:
    return Conflict(f"{step.describe()}: File exists (something else holds that name or address)")
