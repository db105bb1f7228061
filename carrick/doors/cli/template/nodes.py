"""The syntax tree of a template. `at` is where a node starts in the source, `text` its source."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Text:
    text: str


@dataclass(slots=True)
class Field:
    """`.A.B`; no names: the dot itself."""

    at: int
    text: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Variable:
    """`$x.A`."""

    at: int
    text: str
    name: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Literal:
    at: int
    text: str
    value: Any


@dataclass(slots=True)
class Function:
    at: int
    text: str
    name: str


@dataclass(slots=True)
class Group:
    """`(pipeline).A.B`."""

    at: int
    text: str
    pipe: "Pipe"
    names: tuple[str, ...]


Operand = Field | Variable | Literal | Function | Group


@dataclass(slots=True)
class Command:
    """An operand and its arguments."""

    operands: tuple[Operand, ...]


@dataclass(slots=True)
class Pipe:
    """`$a, $b := command | command`; `assign` for `=` in place of `:=`."""

    variables: tuple[str, ...]
    assign: bool
    commands: tuple[Command, ...]


@dataclass(slots=True)
class Action:
    pipe: Pipe


@dataclass(slots=True)
class Branch:
    """`if`, `with` or `range`, as `kind` says."""

    kind: str
    pipe: Pipe
    body: list["Node"]
    otherwise: list["Node"]


@dataclass(slots=True)
class Jump:
    """`break` or `continue`."""

    kind: str


Node = Text | Action | Branch | Jump
