"""Say which command checks a container, and with what times: Docker's defaults where none are given."""

from dataclasses import dataclass

from ...model.containers import ContainerConfig

_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class Check:
    """A check that is really to be run; nothing in it is left open."""

    args: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    start_period_s: float = 0.0
    start_interval_s: float = 5.0
    retries: int = 3


def plan_check(config: ContainerConfig) -> Check | None:
    """Return the check of a container (its configuration merged with the image's), None if it has none.

    A kind that nobody knows is no check, as in Docker: an image may come from a later version.
    """
    asked = config.healthcheck
    if asked is None or not asked.test:
        return None
    kind, *words = asked.test
    if kind == "CMD-SHELL":
        # The shell of the image's SHELL instruction, which is part of the configuration.
        words = [*(config.shell or _SHELL), *words]
    elif kind != "CMD" or not words:
        return None
    usual = Check(tuple(words))
    return Check(
        usual.args,
        interval_s=asked.interval_s or usual.interval_s,
        timeout_s=asked.timeout_s or usual.timeout_s,
        start_period_s=asked.start_period_s or usual.start_period_s,
        start_interval_s=asked.start_interval_s or usual.start_interval_s,
        retries=asked.retries if asked.retries > 0 else usual.retries,
    )
