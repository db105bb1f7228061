"""Build the syntax tree of a template."""

import re

from carrick.doors.cli.template.lexer import Piece, Token, cut, fail
from carrick.doors.cli.template.nodes import (
    Action,
    Branch,
    Command,
    Field,
    Function,
    Group,
    Jump,
    Literal,
    Node,
    Operand,
    Pipe,
    Text,
    Variable,
)

_MAX_DEPTH = 60
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))"
)
_ANY_ESCAPE = re.compile(_ESCAPE.pattern + r"|(\\)", re.DOTALL)


class Parser:
    """Parse one source. `functions` are the names that may be called."""

    def __init__(self, source: str, functions: frozenset[str]) -> None:
        self._source = source
        self._functions = functions
        self._pieces = cut(source)
        self._index = 0
        self._tokens: list[Token] = []
        self._position = 0
        self._scopes: list[set[str]] = [{"$"}]
        self._depth = 0
        self._loops = 0

    def parse(self) -> list[Node]:
        """Return the whole tree. Raises TemplateError."""
        nodes, ended_by = self._block(())
        assert not ended_by
        return nodes

    # --- blocks

    def _block(self, ends: tuple[str, ...]) -> tuple[list[Node], str]:
        """Read nodes up to one of the words `ends`; return them and that word."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._fail("exceeded maximum nesting depth")
        nodes: list[Node] = []
        while self._index < len(self._pieces):
            piece = self._pieces[self._index]
            self._index += 1
            if piece.tokens is None:
                nodes.append(Text(piece.text))
                continue
            word = self._open(piece)
            if word in ends:
                self._depth -= 1
                return nodes, word
            if word in ("else", "end"):
                raise self._fail(f"unexpected {{{{{word}}}}}")
            nodes.append(self._node(word))
        if ends:
            raise fail(self._source, len(self._source), "unexpected EOF")
        self._depth -= 1
        return nodes, ""

    def _open(self, piece: Piece) -> str:
        """Start on an action; return its first word, if it starts with one."""
        self._tokens = piece.tokens or []
        self._position = 0
        self._skip_space()
        token = self._peek()
        return token.text if token is not None and token.kind == "word" else ""

    def _node(self, word: str) -> Node:
        if word in ("if", "with", "range"):
            self._position += 1
            return self._branch(word)
        if word in ("break", "continue"):
            self._position += 1
            self._expect_end(word)
            if not self._loops:
                raise self._fail(f"{{{{{word}}}}} outside {{{{range}}}}")
            return Jump(word)
        if word in ("define", "block", "template"):
            raise self._fail(f"{{{{{word}}}}} is not supported")
        pipe = self._pipe("command")
        self._expect_end("command")
        return Action(pipe)

    def _branch(self, kind: str) -> Branch:
        self._scopes.append(set())
        self._loops += kind == "range"
        pipe = self._pipe(kind)
        self._expect_end(kind)
        body, word = self._block(("else", "end"))
        # Go keeps a loop's `else` outside the loop.
        self._loops -= kind == "range"
        otherwise: list[Node] = []
        if word == "else":
            self._position += 1
            self._skip_space()
            token = self._peek()
            if token is None:
                otherwise, _ = self._block(("end",))
            elif token.text == kind and kind in ("if", "with"):
                self._position += 1
                self._depth += 1  # a chain of else-ifs nests, though it does not look so
                otherwise = [self._branch(kind)]
                self._depth -= 1
            else:
                raise self._fail(f"unexpected {token.text!r} in else")
        else:
            self._position += 1
            self._expect_end("end")
        self._scopes.pop()
        return Branch(kind, pipe, body, otherwise)

    # --- pipelines

    def _pipe(self, context: str, close: str = "") -> Pipe:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._fail("exceeded maximum nesting depth")
        variables, assign = self._declaration(context)
        commands = [self._command(context)]
        while (token := self._peek()) is not None and token.text == "|":
            self._position += 1
            commands.append(self._command(context))
        for command in commands[1:]:
            if isinstance(command.operands[0], Literal):
                raise self._fail(f"non executable command in pipeline stage {commands.index(command) + 1}")
        token = self._peek()
        if close:
            if token is None or token.text != close:
                raise self._fail("unclosed left paren")
            self._position += 1
        if not assign:
            self._scopes[-1].update(variables)
        self._depth -= 1
        return Pipe(variables, assign, tuple(commands))

    def _declaration(self, context: str) -> tuple[tuple[str, ...], bool]:
        start = self._position
        names: list[str] = []
        while True:
            self._skip_space()
            token = self._peek()
            if token is None or token.kind != "variable":
                break
            names.append(token.text)
            self._position += 1
            self._skip_space()
            token = self._peek()
            if token is not None and token.text in (":=", "="):
                self._position += 1
                if token.text == "=":
                    for name in names:
                        self._check_variable(name)
                if len(names) > 1 and (context != "range" or len(names) > 2):
                    raise self._fail(f"too many declarations in {context}")
                return tuple(names), token.text == "="
            if token is None or token.text != "," or context != "range":
                break
            self._position += 1
        self._position = start
        return (), False

    def _command(self, context: str) -> Command:
        operands: list[Operand] = []
        while True:
            self._skip_space()
            token = self._peek()
            if token is None or token.text in ("|", ")"):
                break
            operands.append(self._operand(token))
            after = self._peek()
            if after is not None and after.kind != "space" and after.text not in ("|", ")"):
                raise self._fail(f"unexpected {after.text!r} in operand")
        if not operands:
            raise self._fail(f"missing value for {context}")
        return Command(tuple(operands))

    def _operand(self, token: Token) -> Operand:
        self._position += 1
        at, text = token.at, token.text
        match token.kind:
            case "field":
                names = (text[1:], *self._fields())
                return Field(at, self._since(at), names)
            case "variable":
                self._check_variable(text)
                names = self._fields()
                return Variable(at, self._since(at), text, names)
            case "string":
                return Literal(at, text, self._unquote(text))
            case "raw":
                return Literal(at, text, text[1:-1])
            case "char":
                character = self._unquote(text)
                if len(character) != 1:
                    raise self._fail(f"malformed character constant: {text}")
                return Literal(at, text, ord(character))
            case "number":
                return Literal(at, text, self._number(text))
            case "word":
                return self._word(token)
        if text == ".":
            return Field(at, ".", ())
        if text == "(":
            pipe = self._pipe("parenthesized pipeline", ")")
            names = self._fields()
            return Group(at, self._since(at), pipe, names)
        raise self._fail(f"unexpected {text!r} in operand")

    def _word(self, token: Token) -> Operand:
        constants = {"true": True, "false": False, "nil": None}
        if token.text in constants:
            return Literal(token.at, token.text, constants[token.text])
        if token.text not in self._functions:
            raise self._fail(f'function "{token.text}" not defined')
        return Function(token.at, token.text, token.text)

    def _fields(self) -> tuple[str, ...]:
        """Read the `.A.B` that follows without a space."""
        names: list[str] = []
        while (token := self._peek()) is not None and token.kind == "field":
            names.append(token.text[1:])
            self._position += 1
        return tuple(names)

    # --- small things

    def _number(self, text: str) -> int | float:
        try:
            if re.fullmatch(r"[+-]?(0[xXoObB].*|[\d_]+)", text):
                digits = text.lstrip("+-").replace("_", "")
                if len(digits) > 40:
                    raise ValueError
                octal = len(digits) > 1 and digits.isdigit() and digits.startswith("0")
                value = int(digits, 8) if octal else int(digits, 0)
                return -value if text.startswith("-") else value
            return float(text.replace("_", ""))
        except ValueError:
            raise self._fail(f'bad number syntax: "{text}"') from None

    def _unquote(self, text: str) -> str:
        def replace(match: re.Match[str]) -> str:
            simple, two, four, eight, octal, wrong = match.groups()
            if wrong:
                raise self._fail("invalid syntax")
            if simple:
                return _ESCAPES[simple]
            code = int(octal, 8) if octal else int(two or four or eight, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise self._fail("invalid syntax")
            return chr(code)

        return _ANY_ESCAPE.sub(replace, text[1:-1])

    def _check_variable(self, name: str) -> None:
        if not any(name in scope for scope in self._scopes):
            raise self._fail(f'undefined variable "{name}"')

    def _peek(self) -> Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _skip_space(self) -> None:
        while (token := self._peek()) is not None and token.kind == "space":
            self._position += 1

    def _since(self, at: int) -> str:
        last = self._tokens[self._position - 1]
        return self._source[at : last.at + len(last.text)]

    def _expect_end(self, context: str) -> None:
        self._skip_space()
        token = self._peek()
        if token is not None:
            raise self._fail(f"unexpected {token.text!r} in {context}")

    def _fail(self, message: str) -> Exception:
        at = self._pieces[self._index - 1].at if self._index else 0
        return fail(self._source, at, message)
