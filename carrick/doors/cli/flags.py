"""Flags in the grammar that Docker's users know: POSIX with GNU long names, as Go's pflag has it.

`--name=value`, `--name value`, `--switch`, `--switch=false`, `-it`, `-p80:80`, `-p=80:80`, `--`.
Pure: a list of words in, `Values` out, or a `FlagError` in the words Docker uses. What a value
must look like is the flag's `Kind`.
"""

from __future__ import annotations

from carrick.doors.cli.units import parse_bytes, parse_duration_ns, parse_nano_cpus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class FlagError(ValueError):
    """The command line has a flag that is not there, or one with a value that does not do."""


class Kind:
    """How a flag's text becomes a value. `many`: it may be given again, and values add up."""

    __slots__ = ("default", "many", "parse", "word")

    def __init__(
        self, word: str, parse: Callable[[str], Any], *, many: bool = False, default: Any = None
    ) -> None:
        self.word = word
        self.parse = parse
        self.many = many
        self.default = default


def _parse_bool(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _parse_int(text: str) -> int:
    problem = f'strconv.ParseInt: parsing "{text}": invalid syntax'
    if not text.isascii() or text.strip() != text:
        raise ValueError(problem)
    try:
        value = int(text, 0) if len(text) < 80 else 1 << 70
    except ValueError:
        sign = text[:1] if text[:1] in ("-", "+") else ""
        digits = text.removeprefix(sign) if sign else text
        # Go reads 010 as octal, Python refuses it.
        if not digits.startswith("0") or not digits.isdigit() or set(digits) & {"8", "9"}:
            raise ValueError(problem) from None
        value = int(sign + digits, 8)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def split_csv(text: str) -> list[str]:
    """Split one line of comma-separated values (RFC 4180 quoting). Raises ValueError."""
    if '"' not in text:
        if "\n" in text or "\r" in text:
            raise ValueError("a value may not hold a line break")
        return text.split(",") if text else []
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ValueError(f"bad quoting: {error}") from None
    return rows[0] if rows else []


BOOL = Kind("", _parse_bool, default=False)
STRING = Kind("string", str, default="")
INT = Kind("int", _parse_int, default=0)
LIST = Kind("list", str, many=True)
STRINGS = Kind("strings", split_csv, many=True)
BYTES = Kind("bytes", parse_bytes, default=0)
DECIMAL = Kind("decimal", parse_nano_cpus, default=0)
DURATION = Kind("duration", parse_duration_ns, default=0)


def _parse_pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


MAP = Kind("map", _parse_pair, many=True)


def _parse_filter(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError("bad format of filter (expected name=value)")
    return key.strip().lower(), value.strip()


FILTER = Kind("filter", _parse_filter, many=True)


class Flag:
    """One flag of a command. `complete` names what its values are, for shell completion."""

    __slots__ = ("aliases", "complete", "default", "help", "hidden", "kind", "name", "short")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        kind: Kind = BOOL,
        short: str = "",
        default: Any = None,
        aliases: tuple[str, ...] = (),
        hidden: bool = False,
        complete: str = "",
    ) -> None:
        self.name = name
        self.short = short
        self.help = help
        self.kind = kind
        self.default = kind.default if default is None else default
        self.aliases = aliases
        self.hidden = hidden
        self.complete = complete

    def label(self) -> str:
        """Return how Docker names the flag in a message."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def parse(self, text: str) -> Any:
        """Return the value of `text`. Raises FlagError in Docker's words."""
        try:
            return self.kind.parse(text)
        except ValueError as error:
            raise FlagError(f'invalid argument "{text}" for "{self.label()}" flag: {error}') from None


class Values:
    """The flags' values after parsing, asked for by the flag's long name and type."""

    __slots__ = ("_flags", "_given")

    def __init__(self, flags: Mapping[str, Flag], given: Mapping[str, Any]) -> None:
        self._flags = flags
        self._given = given

    def given(self, name: str) -> bool:
        """Say whether the flag stands on the command line."""
        assert name in self._flags, name
        return name in self._given

    def value(self, name: str) -> Any:
        """Return the value, or the default; a tuple for a flag that may be repeated."""
        flag = self._flags[name]
        if name in self._given:
            given = self._given[name]
            return tuple(given) if flag.kind.many else given
        return () if flag.kind.many else flag.default

    def on(self, name: str) -> bool:
        """Return a switch."""
        return bool(self.value(name))

    def text(self, name: str) -> str:
        """Return a text, empty if not given."""
        return str(self.value(name))

    def number(self, name: str) -> int:
        """Return a number: an int, or what bytes, decimals and durations come down to."""
        return int(self.value(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list's values in order; those of a comma-separated list laid flat."""
        flat: list[str] = []
        for item in self.value(name):
            if isinstance(item, list):
                flat.extend(item)
            else:
                flat.append(str(item))
        return tuple(flat)

    def pairs(self, name: str) -> dict[str, str]:
        """Return a map's keys and values; the last one given wins."""
        return dict(self.value(name))

    def filters(self, name: str = "filter") -> dict[str, list[str]]:
        """Return `--filter` as the API takes it: each key's values in order."""
        filters: dict[str, list[str]] = {}
        for key, value in self.value(name):
            filters.setdefault(key, []).append(value)
        return filters


def parse_flags(
    flags: Sequence[Flag], words: Sequence[str], *, interspersed: bool = True
) -> tuple[Values, list[str]]:
    """Return the flags' values and the other words, in order.

    With `interspersed` false, the first word that is no flag ends them: what follows belongs to
    the container. Raises FlagError.
    """
    by_name = {name: flag for flag in flags for name in (flag.name, *flag.aliases)}
    by_short = {flag.short: flag for flag in flags if flag.short}
    given: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(reversed(words))
    while queue:
        word = queue.pop()
        if word == "--":
            rest.extend(reversed(queue))
            break
        if len(word) < 2 or word[0] != "-":
            rest.append(word)
            if not interspersed:
                rest.extend(reversed(queue))
                break
        elif word[1] == "-":
            _take_long(word, by_name, queue, given)
        else:
            _take_short(word, by_short, queue, given)
    return Values({flag.name: flag for flag in flags}, given), rest


def _take_long(word: str, by_name: Mapping[str, Flag], queue: list[str], given: dict[str, Any]) -> None:
    name, separator, text = word[2:].partition("=")
    if not name or name.startswith("-"):
        raise FlagError(f"bad flag syntax: {word}")
    flag = by_name.get(name)
    if flag is None:
        raise FlagError(f"unknown flag: --{name}")
    if not separator:
        if flag.kind is BOOL:
            text = "true"
        elif queue:
            text = queue.pop()
        else:
            raise FlagError(f"flag needs an argument: --{name}")
    _store(flag, text, given)


def _take_short(word: str, by_short: Mapping[str, Flag], queue: list[str], given: dict[str, Any]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = by_short.get(letter)
        if flag is None:
            raise FlagError(f"unknown shorthand flag: '{letter}' in -{letter}{letters}")
        if letters.startswith("="):
            text, letters = letters[1:], ""
        elif flag.kind is BOOL:
            text = "true"
        elif letters:
            text, letters = letters, ""
        elif queue:
            text = queue.pop()
        else:
            raise FlagError(f"flag needs an argument: '{letter}' in -{letter}")
        _store(flag, text, given)


def _store(flag: Flag, text: str, given: dict[str, Any]) -> None:
    value = flag.parse(text)
    if flag.kind.many:
        given.setdefault(flag.name, []).append(value)
    else:
        given[flag.name] = value
