"""Fill in a template: walk the tree with a dot, variables and functions."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from carrick.doors.cli.template.functions import FUNCTIONS, LAZY, NAMES
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
from carrick.doors.cli.template.parser import Parser
from carrick.doors.cli.template.values import (
    Method,
    Record,
    TemplateError,
    is_true,
    show,
    type_name,
)

# A template of a few words can ask for more output than memory holds (a range in a range …).
_MAX_OUTPUT = 64 * 1024 * 1024
_NOTHING = object()

Functions = Mapping[str, Callable[..., Any]]


class _Jump(Exception):
    """`break` or `continue` on its way to its loop."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Template:
    """A parsed template. `render` may be called for any number of values."""

    def __init__(self, source: str, nodes: list[Node]) -> None:
        self._source = source
        self._nodes = nodes

    def render(self, data: Any, functions: Functions = FUNCTIONS) -> str:
        """Return the text for `data`. Raises TemplateError."""
        try:
            return _Run(self._source, data, functions).block(self._nodes)
        except RecursionError:
            raise TemplateError("template: : exceeded maximum template depth") from None


def parse(source: str) -> Template:
    """Parse a template. Raises TemplateError in the form `template: :LINE: …`."""
    try:
        return Template(source, Parser(source, NAMES).parse())
    except RecursionError:
        raise TemplateError("template: :1: exceeded maximum nesting depth") from None


class _Run:
    """One rendering: the dot, and the variables in scope, innermost last."""

    def __init__(self, source: str, data: Any, functions: Functions) -> None:
        self._source = source
        self._functions = functions
        self._dot = data
        self._scopes: list[dict[str, Any]] = [{"$": data}]
        self._written = 0

    def block(self, nodes: list[Node]) -> str:
        """Return the text of `nodes`."""
        return "".join(self._nodes(nodes))

    def _nodes(self, nodes: list[Node]) -> Iterator[str]:
        for node in nodes:
            if isinstance(node, Text):
                yield self._count(node.text)
            elif isinstance(node, Action):
                value = self._pipe(node.pipe)
                if not node.pipe.variables:
                    yield self._count(show(value))
            elif isinstance(node, Jump):
                raise _Jump(node.kind)
            else:
                yield from self._branch(node)

    def _count(self, text: str) -> str:
        self._written += len(text)
        if self._written > _MAX_OUTPUT:
            raise TemplateError("template: : the output is too large")
        return text

    def _branch(self, node: Branch) -> Iterator[str]:
        self._scopes.append({})
        depth, outer = len(self._scopes), self._dot
        try:
            if node.kind == "range":
                yield from self._range(node)
                return
            value = self._pipe(node.pipe)
            chosen = node.body if is_true(value) else node.otherwise
            if node.kind == "with" and chosen is node.body:
                self._dot = value
            yield from self._nodes(chosen)
        finally:
            del self._scopes[depth - 1 :]
            self._dot = outer

    def _range(self, node: Branch) -> Iterator[str]:
        value = self._pipe(node.pipe, declare=False)
        pairs = self._pairs(node.pipe, value)
        outer, names = self._dot, node.pipe.variables
        if not pairs:
            yield from self._nodes(node.otherwise)
            return
        for key, item in pairs:
            self._scopes.append({})
            bound = (item,) if len(names) == 1 else (key, item)
            for name, bound_value in zip(names, bound, strict=False):
                self._set(name, bound_value, assign=node.pipe.assign)
            self._dot = item
            depth = len(self._scopes)
            try:
                yield from self._nodes(node.body)
            except _Jump as jump:
                if jump.kind == "break":
                    break
            finally:
                del self._scopes[depth - 1 :]
                self._dot = outer

    def _pairs(self, pipe: Pipe, value: Any) -> list[tuple[Any, Any]]:
        if value is None:
            return []
        if isinstance(value, dict):
            return sorted(value.items(), key=lambda item: str(item[0]))
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if value > _MAX_OUTPUT:
                raise self._fail(pipe.commands[0].operands[0], "range is too long")
            return [(number, number) for number in range(value)]
        raise self._fail(pipe.commands[0].operands[0], f"range can't iterate over {show(value)}")

    def _pipe(self, pipe: Pipe, *, declare: bool = True) -> Any:
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, value)
        if declare:
            for name in pipe.variables:
                self._set(name, value, assign=pipe.assign)
        return value

    def _set(self, name: str, value: Any, *, assign: bool) -> None:
        if assign:
            for scope in reversed(self._scopes):
                if name in scope:
                    scope[name] = value
                    return
        self._scopes[-1][name] = value

    def _command(self, command: Command, piped: Any) -> Any:
        first, *rest = command.operands
        if isinstance(first, Function):
            return self._call(first, rest, piped)
        value = self._operand(first)
        if isinstance(value, Method):
            arguments = [self._operand(operand) for operand in rest]
            if piped is not _NOTHING:
                arguments.append(piped)
            return self._call_method(first, value, arguments)
        if rest or piped is not _NOTHING:
            raise self._fail(first, f"can't give argument to non-function {first.text}")
        return value

    def _call(self, function: Function, operands: list[Operand], piped: Any) -> Any:
        if function.name in LAZY:
            return self._lazy(function, operands, piped)
        arguments = [self._argument(operand) for operand in operands]
        if piped is not _NOTHING:
            arguments.append(piped)
        try:
            return self._functions[function.name](*arguments)
        except TemplateError as error:
            raise self._fail(function, error.message) from None

    def _lazy(self, function: Function, operands: list[Operand], piped: Any) -> Any:
        """`and` stops at the first false argument, `or` at the first true one; both return it."""
        if not operands and piped is _NOTHING:
            raise self._fail(function, f"wrong number of args for {function.name}: want at least 1 got 0")
        value: Any = None
        for operand in operands:
            value = self._argument(operand)
            if is_true(value) == (function.name == "or"):
                return value
        return value if piped is _NOTHING else piped

    def _argument(self, operand: Operand) -> Any:
        if isinstance(operand, Function):
            return self._call(operand, [], _NOTHING)
        value = self._operand(operand)
        return self._call_method(operand, value, []) if isinstance(value, Method) else value

    def _call_method(self, operand: Operand, method: Method, arguments: list[Any]) -> Any:
        if len(arguments) != 1:
            raise self._fail(operand, f"wrong number of args for {method.name}: want 1 got {len(arguments)}")
        if not isinstance(arguments[0], str):
            raise self._fail(operand, f"expected string; found {show(arguments[0], nested=True)}")
        return method.call(arguments[0])

    def _operand(self, operand: Operand) -> Any:
        if isinstance(operand, Literal):
            return operand.value
        if isinstance(operand, Function):
            return self._call(operand, [], _NOTHING)
        value: Any
        if isinstance(operand, Field):
            value = self._dot
        elif isinstance(operand, Variable):
            value = self._variable(operand)
        else:
            assert isinstance(operand, Group)
            value = self._pipe(operand.pipe)
        for name in operand.names:
            value = self._field(operand, value, name)
        return value

    def _variable(self, operand: Variable) -> Any:
        for scope in reversed(self._scopes):
            if operand.name in scope:
                return scope[operand.name]
        raise self._fail(operand, f"undefined variable: {operand.name}")

    def _field(self, operand: Operand, value: Any, name: str) -> Any:
        if isinstance(value, Record):
            try:
                return value.field(name)
            except KeyError:
                raise self._fail(operand, f"can't evaluate field {name} in type {value.TYPE}") from None
        if isinstance(value, dict):
            if name in value:
                return value[name]
            # Docker's templates may use Go's names of fields (.ID) or JSON's (.Id).
            lowered = name.lower()
            for key, item in value.items():
                if isinstance(key, str) and key.lower() == lowered:
                    return item
            raise self._fail(operand, f'map has no entry for key "{name}"')
        if value is None:
            raise self._fail(operand, f"nil pointer evaluating interface {{}}.{name}")
        raise self._fail(operand, f"can't evaluate field {name} in type {type_name(value)}")

    def _fail(self, operand: Operand, message: str) -> TemplateError:
        before = self._source[: operand.at]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1)
        text = operand.text if len(operand.text) <= 20 else operand.text[:20] + "..."
        return TemplateError(f'template: :{line}:{column}: executing "" at <{text}>: {message}')
