"""Rules of a container's life that need nothing but its record: restart policies, and what a signal is."""

import signal as signals

from ..model.containers import RestartPolicyName
from ..model.errors import InvalidRequest
from .values import ContainerRecord


def should_restart(record: ContainerRecord) -> bool:
    policy = record.host_config.restart_policy
    match policy.name:
        case RestartPolicyName.ALWAYS | RestartPolicyName.UNLESS_STOPPED:
            return record.wanted
        case RestartPolicyName.ON_FAILURE:
            within = not policy.maximum_retries or record.restart_count < policy.maximum_retries
            return record.wanted and record.state.exit_code != 0 and within
        case _:
            return False


def restarts_on_boot(record: ContainerRecord) -> bool:
    return record.host_config.restart_policy.name in {
        RestartPolicyName.ALWAYS,
        RestartPolicyName.UNLESS_STOPPED,
    }


def parse_signal(text: str) -> int:
    """Return a signal's number from `9`, `KILL` or `SIGKILL`; InvalidRequest in Docker's words."""
    if text.isdigit():
        number = int(text)
        if 0 < number < signals.NSIG:
            return number
        raise InvalidRequest(f"invalid signal: {text}")
    name = text.upper().removeprefix("SIG")
    if name.startswith(("RTMIN", "RTMAX")):
        base, _, offset = name.partition("+") if "+" in name else name.partition("-")
        number = int(getattr(signals, f"SIG{base}"))
        shift = int(offset) if offset.isdigit() else 0
        return number + shift if "+" in name else number - shift
    try:
        return int(signals.Signals[f"SIG{name}"])
    except KeyError:
        raise InvalidRequest(f"invalid signal: {text}") from None
