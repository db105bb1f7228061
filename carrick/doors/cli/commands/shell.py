"""`carrick completion`: the script that a shell loads to complete our commands."""

from __future__ import annotations

from carrick.doors.cli.app import App
from carrick.doors.cli.command import Arity, Command
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.flags import Values

_SHELLS = ("bash", "zsh", "fish")


def _completion(app: App, values: Values, words: list[str]) -> None:
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from carrick.doors.cli.click_tree import VARIABLE, ClickGroup
    from carrick.doors.cli.main import root_group

    class Bash(BashComplete):
        """As click's, without running bash to learn its version: this only prints a text."""

        @staticmethod
        def _check_version() -> None:
            return

    kinds = {"bash": Bash, "zsh": ZshComplete, "fish": FishComplete}
    kind = kinds.get(words[0])
    if kind is None:
        raise CliError(f"unknown shell {words[0]!r}: must be one of {', '.join(_SHELLS)}", 2)
    app.out.write(kind(ClickGroup(root_group()), {}, "carrick", VARIABLE).source())


COMPLETION = Command(
    "completion",
    _completion,
    summary="Print the completion script for a shell",
    usage="bash|zsh|fish",
    arity=Arity(1, 1, "shell"),
    own=True,
    examples=(
        "carrick completion bash > /etc/bash_completion.d/carrick",
        "carrick completion zsh > ~/.zfunc/_carrick",
        "carrick completion fish > ~/.config/fish/completions/carrick.fish",
    ),
)
