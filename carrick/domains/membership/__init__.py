"""Membership: who is there, who is not, and who sees to it. Pure."""

from .liveness import LifeStatus, Missing, Sweep, is_responsible, plan_sweep, responsible, status_of

__all__ = ["LifeStatus", "Missing", "Sweep", "is_responsible", "plan_sweep", "responsible", "status_of"]
