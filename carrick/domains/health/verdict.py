"""How a container stands after each run of its check. The rules are Docker's, all of them in this file:

begin   the container starts      starting, no failures; the log of earlier runs stays
judge   code 0                    healthy, no failures
        any other code            one more failure, and with `retries` of them in a row unhealthy;
                                  in the start period, while starting, it does not count
close   it ended or is paused     unhealthy: nobody looks any more
"""

from dataclasses import replace

from ...model.containers import Health, HealthResult, HealthStatus
from .check import Check

_KEPT_RESULTS = 5


def begin(before: Health | None) -> Health:
    """Return the health of a container that starts, the first time or again."""
    return replace(before or Health(), status=HealthStatus.STARTING, failing_streak=0)


def close(health: Health | None) -> Health | None:
    """Return the health of a container that is not looked after any more; None if it never was."""
    return None if health is None else replace(health, status=HealthStatus.UNHEALTHY)


def judge(health: Health, result: HealthResult, check: Check, running_s: float) -> Health:
    """Return the health after one more result; `running_s` is the container's age when that run began."""
    log = (*health.log, result)[-_KEPT_RESULTS:]
    if result.exit_code == 0:
        return Health(HealthStatus.HEALTHY, 0, log)
    if health.status is HealthStatus.STARTING and running_s < check.start_period_s:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    status = HealthStatus.UNHEALTHY if streak >= check.retries else health.status
    return Health(status, streak, log)


def pause_before_next(health: Health, check: Check, running_s: float) -> float:
    """Return the seconds from the end of one run (or the container's start) to the next run."""
    if health.status is HealthStatus.STARTING and running_s < check.start_period_s:
        return check.start_interval_s
    return check.interval_s
