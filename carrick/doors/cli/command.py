"""Commands and groups of commands: click's tree, with Docker's grammar, usage texts and errors.

Click finds the command, keeps the context and completes words; flags are parsed by `flags`,
because scripts written for Docker use forms that click does not have (`--sig-proxy=false`). A
command's options become `click.Option`s only when something asks for them (help, completion).
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from carrick.doors.cli.app import App
from carrick.doors.cli.errors import Quit, UsageProblem
from carrick.doors.cli.flags import BOOL, Flag, FlagError, Values, parse_flags

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Run = Callable[[App, Values, list[str]], int | None]

_HELP = Flag("help", "Print usage")


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


class Command(click.Command):
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
        super().__init__(name, help=summary, short_help=summary, add_help_option=False)
        self.run = run
        self.summary = summary
        self.usage = usage
        self.arity = arity
        self.flags = (*flags, _HELP)
        self.examples = examples
        self.passthrough = passthrough
        self.own = own
        self.notes = notes

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; the values and words wait in the context's `meta` for `invoke`."""
        flags = self.flags
        if (app := ctx.find_object(App)) is not None:
            app.command_path = ctx.command_path
            app.usage = self.usage_text(ctx.command_path)
            app.own = self.own
        if not any(flag.short == "h" for flag in flags) and "-h" in args[:1]:
            args = ["--help", *args[1:]]
        try:
            values, words = parse_flags(flags, args, interspersed=not self.passthrough)
        except FlagError as error:
            if ctx.resilient_parsing:
                return self._remember(ctx, Values({f.name: f for f in flags}, {}), [])
            raise UsageProblem(str(error), code=125, prefix=False) from None
        if values.on("help") and not ctx.resilient_parsing:
            assert app is not None
            app.out.write(self.get_help(ctx))
            raise Quit(0)
        if not ctx.resilient_parsing and (problem := self.arity.problem(len(words), ctx.command_path)):
            raise UsageProblem(problem, code=1, prefix=True)
        return self._remember(ctx, values, words)

    def _remember(self, ctx: click.Context, values: Values, words: list[str]) -> list[str]:
        ctx.meta["carrick.values"] = values
        ctx.meta["carrick.words"] = words
        # For completion, which asks which of the arguments are still open.
        ctx.params.update({"arguments": tuple(words)})
        ctx.args = []
        return []

    def invoke(self, ctx: click.Context) -> int:
        """Run the command and return its exit code."""
        app = ctx.find_object(App)
        assert app is not None
        return self.run(app, ctx.meta["carrick.values"], ctx.meta["carrick.words"]) or 0

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the flags and words as click's parameters, for completion and the docs."""
        options: list[click.Parameter] = [
            click.Option(
                [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])],
                is_flag=flag.kind is BOOL,
                multiple=flag.kind.many,
                help=flag.help,
                hidden=flag.hidden,
                shell_complete=_completer(flag.complete),
            )
            for flag in self.flags
        ]
        if self.arity.maximum != 0:
            kinds = self.arity.kinds

            def complete(
                ctx: click.Context, param: click.Parameter, incomplete: str
            ) -> list["CompletionItem"]:
                position = len(ctx.params.get("arguments") or ())
                kind = kinds[min(position, len(kinds) - 1)] if kinds else ""
                return _completer(kind)(ctx, param, incomplete)

            options.append(click.Argument(["arguments"], nargs=-1, shell_complete=complete))
        return options

    def usage_text(self, path: str) -> str:
        """Return the usage lines, one per form."""
        forms = [f"{path} {form}".rstrip() for form in self.usage.split("\n")]
        return "Usage:  " + "\n\t".join(forms)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help text: usage, what it does, options, examples."""
        from carrick.doors.cli.help import command_help

        return command_help(self, ctx.command_path)


def _completer(
    kind: str,
) -> Callable[[click.Context, click.Parameter, str], list["CompletionItem"]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list["CompletionItem"]:
        from click.shell_completion import CompletionItem

        from carrick.doors.cli.completion import candidates

        return [
            CompletionItem(item.value, type=item.type) if item.type else CompletionItem(item.value)
            for item in candidates(ctx, kind, incomplete)
        ]

    return complete


def _group_help_option() -> click.Option:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            app = ctx.find_object(App)
            assert app is not None
            app.out.write(ctx.get_help())
            raise Quit(0)

    return click.Option(
        ["--help", "-h"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Print usage",
    )


class Group(click.Group):
    """A group whose commands are named by a table and imported one by one, when asked for.

    A table's entry is `"module:ATTRIBUTE"` below `carrick.doors.cli`; `aliases` are names that
    work and are not listed. `default`, if any, is the command for a first word that is none of
    the group's (`carrick port CONTAINER` beside `carrick port add`).
    """

    def __init__(
        self,
        name: str,
        summary: str,
        table: Mapping[str, str],
        *,
        aliases: Mapping[str, str] | None = None,
        default: str = "",
        hidden: frozenset[str] = frozenset(),
        params: list[click.Parameter] | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(
            name,
            help=summary,
            short_help=summary,
            params=[*(params or []), _group_help_option()],
            callback=callback,
            add_help_option=False,
            no_args_is_help=False,
            invoke_without_command=True,
        )
        self.summary = summary
        self.table = dict(table)
        self.aliases = dict(aliases or {})
        self.default = default
        self.unlisted = hidden
        self.own = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the listed names, sorted."""
        return sorted(name for name in self.table if name not in self.unlisted)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, by name or alias."""
        entry = self.table.get(self.aliases.get(cmd_name, cmd_name))
        if entry is None:
            return None
        module, _, attribute = entry.partition(":")
        command = getattr(import_module(f"carrick.doors.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options; with a default command, only a known word is one of ours."""
        if self.default and args and self._is_for_default(ctx, args[0]):
            command = self.default_command(ctx)
            # The context is the default command's from here on, usage texts included.
            ctx.command = command
            return command.parse_args(ctx, args)
        return super().parse_args(ctx, args)

    def _is_for_default(self, ctx: click.Context, word: str) -> bool:
        known = word in self.table or word in self.aliases
        return not known and word not in ("--help", "-h") and not ctx.resilient_parsing

    def default_command(self, ctx: click.Context) -> click.Command:
        """Return the command for words that name none of the group's."""
        module, _, attribute = self.default.partition(":")
        command = getattr(import_module(f"carrick.doors.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the named command. An unknown one is refused with the nearest name."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            if (app := ctx.find_object(App)) is not None:
                app.command_path = ctx.command_path
            message = f"unknown command: {ctx.command_path} {args[0]}"
            if near := self._nearest(args[0]):
                message += f"\n\nDid you mean: {ctx.command_path} {near}"
            raise UsageProblem(message, code=1, prefix=True)
        return args[0] if command else None, command, args[1:]

    def _nearest(self, word: str) -> str:
        from difflib import get_close_matches

        names = [name for name in (*self.table, *self.aliases) if name not in self.unlisted]
        matches = get_close_matches(word, names, n=1, cutoff=0.5)
        return matches[0] if matches else ""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand, or print the help if there is none."""
        if ctx.command is not self:
            return ctx.command.invoke(ctx)
        if not ctx._protected_args:
            if self.callback is not None:
                ctx.invoke(self.callback, **ctx.params)
            app = ctx.find_object(App)
            assert app is not None
            app.out.write(self.get_help(ctx))
            return 0
        return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """Complete our commands' names, and what the default command takes."""
        found = super().shell_complete(ctx, incomplete)
        if self.default:
            command = self.default_command(ctx)
            assert isinstance(command, Command)
            kind = command.arity.kinds[0]
            found += _completer(kind)(ctx, command.get_params(ctx)[0], incomplete)
        return found

    def usage_text(self, path: str) -> str:
        """Return the usage lines: the default command's forms, if there is one, and ours."""
        if not self.default:
            return f"Usage:  {path} COMMAND"
        command = self.default_command(click.Context(self))
        assert isinstance(command, Command)
        return f"{command.usage_text(path)}\n\t{path} COMMAND"

    def get_help(self, ctx: click.Context) -> str:
        """Return the help text: the commands with a line each."""
        from carrick.doors.cli.help import group_help

        return group_help(self, ctx)
