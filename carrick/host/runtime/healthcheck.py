"""The Dockerfile instruction HEALTHCHECK, as `import --change` and `commit --change` take it, both ways."""

import re
from fractions import Fraction

import msgspec

from ...model.containers import Healthcheck
from ...model.errors import InvalidRequest

_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS_S = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_SHORTEST_S = Fraction(1, 1000)
_FIELDS = {
    "interval": "interval_s",
    "timeout": "timeout_s",
    "start-period": "start_period_s",
    "start-interval": "start_interval_s",
}


def parse_healthcheck(text: str) -> Healthcheck:
    """Parse what follows HEALTHCHECK. Raises InvalidRequest in Docker's words."""
    flags: dict[str, str] = {}
    rest = text.strip()
    while rest.startswith("--"):
        word, _, rest = rest.partition(" ")
        rest = rest.lstrip()
        name, _, value = word.removeprefix("--").partition("=")
        if name not in {*_FIELDS, "retries"}:
            raise InvalidRequest(f"Unknown flag: {name}")
        if name in flags:
            raise InvalidRequest(f"Duplicate flag specified: {name}")
        if not value:
            raise InvalidRequest(f"Missing a value on flag: {name}")
        flags[name] = value
    kind, _, command = rest.partition(" ")
    command = command.strip()
    match kind.upper():
        case "NONE":
            if command:
                raise InvalidRequest("HEALTHCHECK NONE takes no arguments")
            return Healthcheck(("NONE",))
        case "CMD":
            test = _parse_command(command)
        case "":
            raise InvalidRequest("HEALTHCHECK requires at least one argument")
        case _:
            raise InvalidRequest(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    times = {field: _parse_duration(name, flags[name]) for name, field in _FIELDS.items() if name in flags}
    return Healthcheck(test, retries=_parse_retries(flags.get("retries", "0")), **times)


def _parse_command(text: str) -> tuple[str, ...]:
    try:
        words = msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        words = []
        if text:
            return ("CMD-SHELL", text)
    if not words:
        raise InvalidRequest("Missing command after HEALTHCHECK CMD")
    return ("CMD", *words)


def _parse_duration(name: str, text: str) -> float:
    body = text.lstrip("+-")
    if not body or _DURATION.sub("", body) not in {"", "0"}:
        raise InvalidRequest(f'time: invalid duration "{text}" of HEALTHCHECK --{name}')
    seconds = sum((Fraction(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(body)), Fraction())
    if seconds and (text.startswith("-") or seconds < _SHORTEST_S):
        raise InvalidRequest(f'Interval "{name}" cannot be less than 1ms')
    return float(seconds)


def _parse_retries(text: str) -> int:
    try:
        retries = int(text)
    except ValueError:
        raise InvalidRequest(f"--retries of HEALTHCHECK must be a number, not {text!r}") from None
    if retries < 0:
        raise InvalidRequest(f"--retries cannot be negative ({retries})")
    return retries


def render_healthcheck(check: Healthcheck) -> str:
    """Write a check as one line that `parse_healthcheck` reads; "" if it says nothing."""
    if not check.test:
        return ""
    kind, *words = check.test
    if kind == "NONE":
        return "NONE"
    times = ((name, getattr(check, field)) for name, field in _FIELDS.items())
    flags = [f"--{name}={round(seconds * 10**9)}ns" for name, seconds in times if seconds]
    if check.retries:
        flags.append(f"--retries={check.retries}")
    command = msgspec.json.encode(words).decode() if kind == "CMD" else " ".join(words)
    return " ".join([*flags, "CMD", command])
