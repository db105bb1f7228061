"""Commands and groups of commands: the tree that `carrick` walks, with Docker's grammar and errors.

A group finds the command, a command parses its flags (`flags`) and runs. Help texts are laid out
by `help`, words completed by `click_tree`; both are imported when somebody asks for them.
"""

from __future__ import annotations

from carrick.doors.cli.errors import UsageProblem
from carrick.doors.cli.flags import Flag, FlagError, Values, parse_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carrick.doors.cli.app import App

    Run = Callable[[App, Values, list[str]], int | None]


class Arity:
    """How many words a command takes, and what they are (for completion): the last repeats."""

    __slots__ = ("kinds", "maximum", "minimum")

    def __init__(self, minimum: int, maximum: int | None, *kinds: str) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.kinds = kinds

    def problem(self, count: int, path: str) -> str:
        """Return what is wrong with `count` words, in Docker's words; empty if nothing is."""
        low, high = self.minimum, self.maximum
        if count >= low and (high is None or count <= high):
            return ""
        if high == 0:
            return f"'{path}' accepts no arguments"
        if high is None:
            return f"'{path}' requires at least {low} argument{_s(low)}"
        if low == high:
            return f"'{path}' requires {low} argument{_s(low)}"
        if low == 0:
            return f"'{path}' requires at most {high} argument{_s(high)}"
        return f"'{path}' requires at least {low} and at most {high} arguments"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


NONE = Arity(0, 0)


class Command:
    """A command. `usage` is what follows its name, one line per form; `examples` are whole lines.

    `passthrough`: flags end at the first word, because the rest is a container's command.
    `own`: Carrick's own command, with the exit codes of the house (see `errors.exit_code`).
    """

    def __init__(
        self,
        name: str,
        run: Run,
        *,
        summary: str,
        usage: str,
        arity: Arity,
        examples: tuple[str, ...],
        flags: Sequence[Flag] = (),
        passthrough: bool = False,
        own: bool = False,
        notes: str = "",
    ) -> None:
        self.name = name
        self.run = run
        self.summary = summary
        self.usage = usage
        self.arity = arity
        self.flags = (*flags, Flag("help", "Print usage"))
        self.examples = examples
        self.passthrough = passthrough
        self.own = own
        self.notes = notes

    def parse(self, words: Sequence[str]) -> tuple[Values, list[str]]:
        """Return the flags' values and the other words. Raises FlagError."""
        if words and words[0] == "-h" and not any(flag.short == "h" for flag in self.flags):
            words = ["--help", *words[1:]]
        return parse_flags(self.flags, words, interspersed=not self.passthrough)

    def execute(self, app: App, path: str, words: Sequence[str]) -> int:
        """Run the command, called by the name `path`, and return its exit code."""
        app.command_path = path
        app.usage = self.usage_text(path)
        app.own = self.own
        try:
            values, rest = self.parse(words)
        except FlagError as error:
            raise UsageProblem(str(error), code=125, prefix=False) from None
        if values.on("help"):
            app.out.write(self.help_text(path))
            return 0
        if problem := self.arity.problem(len(rest), path):
            raise UsageProblem(problem, code=1, prefix=True)
        return self.run(app, values, rest) or 0

    def usage_text(self, path: str) -> str:
        """Return the usage lines, one per form."""
        forms = [f"{path} {form}".rstrip() for form in self.usage.split("\n")]
        return "Usage:  " + "\n\t".join(forms)

    def help_text(self, path: str) -> str:
        """Return the help text: usage, what it does, options, examples."""
        from carrick.doors.cli.help import command_help

        return command_help(self, path)


class Group:
    """A group whose commands are named by a table and imported one by one, when asked for.

    A table's entry is `"module:ATTRIBUTE"` below `carrick.doors.cli`; `aliases` are names that
    work and are not listed. `default`, if any, is the command for a first word that is none of
    the group's (`carrick port CONTAINER` beside `carrick port add`). `flags` stand before the
    command's name; `apply` acts on them.
    """

    def __init__(
        self,
        name: str,
        summary: str,
        table: Mapping[str, str],
        *,
        aliases: Mapping[str, str] | None = None,
        default: str = "",
        flags: Sequence[Flag] = (),
        apply: Callable[[App, Values], None] | None = None,
    ) -> None:
        self.name = name
        self.summary = summary
        self.table = table
        self.aliases = aliases or {}
        self.default = default
        self.flags = (*flags, Flag("help", "Print usage", short="h"))
        self.apply = apply

    def names(self) -> list[str]:
        """Return the listed names, sorted."""
        return sorted(self.table)

    def get(self, name: str) -> Command | Group | None:
        """Import and return a command, by name or alias."""
        entry = self.table.get(self.aliases.get(name, name))
        return _load(entry) if entry else None

    def default_command(self) -> Command:
        """Return the command for words that name none of the group's."""
        command = _load(self.default)
        assert isinstance(command, Command)
        return command

    def execute(self, app: App, path: str, words: Sequence[str]) -> int:
        """Run the command that `words` name, or print the help if they name none."""
        if self.default and words and not self._is_known(words[0]):
            return self.default_command().execute(app, path, words)
        app.command_path = path
        try:
            values, rest = parse_flags(self.flags, words, interspersed=False)
        except FlagError as error:
            raise UsageProblem(str(error), code=125, prefix=False) from None
        if not values.on("help"):
            if self.apply is not None:
                self.apply(app, values)
            if rest:
                return self._named(rest[0], path).execute(app, f"{path} {rest[0]}", rest[1:])
        app.out.write(self.help_text(path))
        return 0

    def _is_known(self, word: str) -> bool:
        return word in self.table or word in self.aliases or word in ("--help", "-h")

    def _named(self, word: str, path: str) -> Command | Group:
        """Return a command. An unknown one is refused with the nearest name."""
        if (command := self.get(word)) is not None:
            return command
        message = f"unknown command: {path} {word}"
        if near := self._nearest(word):
            message += f"\n\nDid you mean: {path} {near}"
        raise UsageProblem(message, code=1, prefix=True)

    def _nearest(self, word: str) -> str:
        from difflib import get_close_matches

        matches = get_close_matches(word, [*self.table, *self.aliases], n=1, cutoff=0.5)
        return matches[0] if matches else ""

    def usage_text(self, path: str) -> str:
        """Return the usage lines: the default command's forms, if there is one, and ours."""
        if not self.default:
            return f"Usage:  {path} COMMAND"
        return f"{self.default_command().usage_text(path)}\n\t{path} COMMAND"

    def help_text(self, path: str) -> str:
        """Return the help text: the commands with a line each."""
        from carrick.doors.cli.help import group_help

        return group_help(self, path)


def _load(entry: str) -> Command | Group:
    """Import the object that a table's entry names."""
    module, _, attribute = entry.partition(":")
    name = f"carrick.doors.cli.{module}"
    # As importlib.import_module, which is one more module to import.
    found = getattr(__import__(name, fromlist=(attribute,)), attribute)
    assert isinstance(found, Command | Group)
    return found
