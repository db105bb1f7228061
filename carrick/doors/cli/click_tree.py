"""The tree of commands as click sees it, for shell completion: its protocol, its scripts.

Click walks these in its resilient mode, where nothing is run and nothing is refused.
"""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem, shell_complete

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Command, Group
from carrick.doors.cli.completion import candidates
from carrick.doors.cli.flags import BOOL, Flag, FlagError

VARIABLE = "_CARRICK_COMPLETE"

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def answer(root: Group, app: App, instruction: str) -> int:
    """Answer the shell's completion script, which asks through `VARIABLE`; return the exit code."""
    return shell_complete(ClickGroup(root), {"obj": app}, "carrick", VARIABLE, instruction)


def _completer(kind: str) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        app = ctx.find_object(App)
        if app is None:
            return []
        if host := ctx.find_root().params.get("host"):
            app.host = str(host)
        return [
            CompletionItem(item.value, type=item.type) if item.type else CompletionItem(item.value)
            for item in candidates(app, kind, incomplete)
        ]

    return complete


def _option(flag: Flag) -> click.Option:
    return click.Option(
        [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])],
        is_flag=flag.kind is BOOL,
        multiple=flag.kind.many,
        help=flag.help,
        hidden=flag.hidden,
        shell_complete=_completer(flag.complete),
    )


class ClickCommand(click.Command):
    """A command: its flags are options, its words one argument that knows their kinds."""

    def __init__(self, command: Command) -> None:
        params: list[click.Parameter] = [_option(flag) for flag in command.flags]
        if command.arity.maximum != 0:
            params.append(self._argument(command.arity.kinds))
        super().__init__(command.name, params=params, short_help=command.summary, add_help_option=False)
        self._command = command

    @staticmethod
    def _argument(kinds: tuple[str, ...]) -> click.Argument:
        def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
            position = len(ctx.params.get("arguments") or ())
            kind = kinds[min(position, len(kinds) - 1)] if kinds else ""
            return _completer(kind)(ctx, param, incomplete)

        return click.Argument(["arguments"], nargs=-1, shell_complete=complete)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse with our grammar; click asks which of the arguments are still open."""
        try:
            _, words = self._command.parse(args)
        except FlagError:
            words = []
        ctx.params.update({"arguments": tuple(words)})
        ctx.args = []
        return []


class ClickGroup(click.Group):
    """A group; its commands are imported when their names stand on the line."""

    def __init__(self, group: Group) -> None:
        super().__init__(
            group.name,
            params=[_option(flag) for flag in group.flags],
            short_help=group.summary,
            add_help_option=False,
            no_args_is_help=False,
            invoke_without_command=True,
        )
        self._group = group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the listed names, sorted."""
        return self._group.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, by name or alias."""
        found = self._group.get(cmd_name)
        if isinstance(found, Group):
            return ClickGroup(found)
        return None if found is None else ClickCommand(found)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete our commands' names, and what the default command takes."""
        found = super().shell_complete(ctx, incomplete)
        if self._group.default:
            kind = self._group.default_command().arity.kinds[0]
            found += _completer(kind)(ctx, self.params[0], incomplete)
        return found
