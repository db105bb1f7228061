"""Health checks: what is run, what a result means, and when the next run is due. Pure."""

from .check import Check, plan_check
from .output import LimitedOutput, timeout_text
from .verdict import begin, close, judge, pause_before_next

__all__ = [
    "Check",
    "LimitedOutput",
    "begin",
    "close",
    "judge",
    "pause_before_next",
    "plan_check",
    "timeout_text",
]
