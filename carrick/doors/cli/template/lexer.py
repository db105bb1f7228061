"""Cut a template into text and actions, and an action into tokens."""

import re
from typing import NamedTuple

from carrick.doors.cli.template.values import TemplateError

_SPACE = " \t\r\n"
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<raw>`[^`]*`)
  | (?P<char>'(?:[^'\\\n]|\\.[^'\n]*)')
  | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
        |(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?))
  | (?P<field>\.[^\W\d]\w*)
  | (?P<variable>\$\w*)
  | (?P<word>[^\W\d]\w*)
  | (?P<symbol>:=|[=|(),.])
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str
    text: str
    at: int


class Piece(NamedTuple):
    """Text between actions (`tokens` is None), or an action."""

    text: str
    tokens: list[Token] | None
    at: int


def fail(source: str, at: int, message: str) -> TemplateError:
    """Return a parse error in Go's form, with the line that `at` is in."""
    line = source.count("\n", 0, at) + 1
    return TemplateError(f"template: :{line}: {message}")


def cut(source: str) -> list[Piece]:
    """Return the pieces of a template, comments left out and trim markers obeyed."""
    pieces: list[Piece] = []
    position = 0
    trim_next = False
    while True:
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        if trim_next:
            text = text.lstrip(_SPACE)
        if start < 0:
            if text:
                pieces.append(Piece(text, None, position))
            return pieces
        inside = start + 2
        if source[inside : inside + 1] == "-" and source[inside + 1 : inside + 2] in tuple(_SPACE):
            text = text.rstrip(_SPACE)
            inside += 2
        if text:
            pieces.append(Piece(text, None, position))
        comment = inside + len(source[inside:]) - len(source[inside:].lstrip(_SPACE))
        if source.startswith("/*", comment):
            position, trim_next = _skip_comment(source, comment)
            continue
        tokens, position, trim_next = _tokens(source, inside, start)
        pieces.append(Piece("", tokens, start))


def _skip_comment(source: str, at: int) -> tuple[int, bool]:
    end = source.find("*/", at)
    if end < 0:
        raise fail(source, at, "unclosed comment")
    match = re.compile(r"([ \t\r\n]+-)?\}\}").match(source, end + 2)
    if match is None:
        raise fail(source, at, "comment ends before closing delimiter")
    return match.end(), match.group(1) is not None


def _tokens(source: str, position: int, start: int) -> tuple[list[Token], int, bool]:
    tokens: list[Token] = []
    while True:
        if source.startswith("}}", position):
            return tokens, position + 2, False
        match = _TOKEN.match(source, position)
        if match is None:
            raise fail(source, start, _problem(source, position))
        kind = match.lastgroup or ""
        if kind == "space":
            if source.startswith("-}}", match.end()):
                return tokens, match.end() + 3, True
            tokens.append(Token("space", " ", position))
        else:
            tokens.append(Token(kind, match.group(), position))
        position = match.end()


def _problem(source: str, position: int) -> str:
    if position >= len(source):
        return "unclosed action"
    character = source[position]
    if character == '"':
        return "unterminated quoted string"
    if character == "`":
        return "unterminated raw quoted string"
    if character == "'":
        return "unterminated character constant"
    return f"unexpected {character!r} in command"
