"""Requests and answers, checked against the OpenAPI document that the daemon serves.

An answer must have a status, a content type, headers and a body that the document knows. A request that was
accepted must be one that the document allows; what is refused may be anything.

    checker = ExchangeChecker(document_of)       # a function from an API version to its document
    checker.check(Exchange("GET", "/v1.44/networks", 200, headers, body))
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from .daemon import Api, Reply

_VERSIONED = re.compile(r"/v(\d+(?:\.\d+)+)(/.*)", re.DOTALL)
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer. A body is None if it was not seen (a stream, somebody else's)."""

    method: str
    target: str
    status: int
    headers: Mapping[str, str]
    body: bytes | None = None
    request_body: bytes | None = None
    request_headers: Mapping[str, str] = field(default_factory=dict)


class Undocumented(AssertionError):
    """The document does not allow what was said."""


class ExchangeChecker:
    """Checks exchanges; `seen` counts them by operation and status."""

    def __init__(self, document_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._document_of = document_of
        self._documents: dict[str, _Document] = {}
        self.seen: dict[tuple[str, int], int] = {}

    def _document(self, version: str) -> "_Document":
        if version not in self._documents:
            self._documents[version] = _Document(self._document_of(version))
        return self._documents[version]

    def check(self, exchange: Exchange) -> None:
        """Raise Undocumented if the document does not know the exchange."""
        parts = urlsplit(exchange.target)
        version, path = "", unquote(parts.path)
        if match := _VERSIONED.fullmatch(path):
            version, path = match[1], match[2]
        where = f"{exchange.method} {exchange.target} -> {exchange.status}"
        if exchange.status in (400, 404) and version and version not in _served(self._document("")):
            return  # a version that there is no document of
        document = self._document(version)
        operation = document.find(exchange.method, path)
        if operation is None:
            if exchange.status not in (400, 404):
                raise Undocumented(f"{where}: no such operation")
            if exchange.body:
                document.validate(_parse(exchange.body, where), document.error, where)
            return
        key = f"{exchange.method} {operation.path}"
        self.seen[key, exchange.status] = self.seen.get((key, exchange.status), 0) + 1
        _check_answer(document, operation.fields, exchange, where)
        if exchange.status < 400:
            _check_request(document, operation.fields, exchange, parts.query, where)


@dataclass(frozen=True, slots=True)
class _Operation:
    path: str
    pattern: re.Pattern[str]
    fields: Mapping[str, Any]


class _Document:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self.tree = document
        self.error: Mapping[str, Any] = {"$ref": "#/components/schemas/Error"}
        self._operations: dict[str, list[_Operation]] = {}
        self._validators: dict[str, Draft202012Validator] = {}
        for path, methods in document["paths"].items():
            pattern = re.compile(_pattern(path), re.DOTALL)
            for method, operation in methods.items():
                known = self._operations.setdefault(method.upper(), [])
                known.append(_Operation(path, pattern, operation))
        for known in self._operations.values():
            # Fixed words before parameters, as `/networks/create` is no network.
            known.sort(key=lambda item: [part.startswith("{") for part in item.path.split("/")])

    def find(self, method: str, path: str) -> _Operation | None:
        return next((item for item in self._operations.get(method, ()) if item.pattern.fullmatch(path)), None)

    def validate(self, value: object, schema: Mapping[str, Any], where: str) -> None:
        key = json.dumps(schema)
        validator = self._validators.get(key)
        if validator is None:
            whole = {**schema, "components": self.tree["components"]}
            validator = self._validators[key] = Draft202012Validator(whole)
        problems = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]
        if problems:
            raise Undocumented(f"{where}: " + "; ".join(problems[:5]))

    def resolve(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in value:
            found: Any = self.tree
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value


def _served(document: _Document) -> set[str]:
    """Return the versions there are documents of."""
    oldest, newest = (int(text.removeprefix("1.")) for text in document.tree["info"]["x-carrick-versions"])
    return {f"1.{minor}" for minor in range(oldest, newest + 1)}


def _pattern(path: str) -> str:
    """Return a pattern of a path. Images' names have slashes in them."""
    wide = path.startswith(("/images/", "/distribution/", "/plugins/")) or "{rest}" in path
    pieces = re.split(r"(\{\w+\})", path)
    return "".join((".+" if wide else "[^/]+") if piece[:1] == "{" else re.escape(piece) for piece in pieces)


def _check_answer(document: _Document, operation: Mapping[str, Any], exchange: Exchange, where: str) -> None:
    answer = operation["responses"].get(str(exchange.status))
    if answer is None:
        raise Undocumented(f"{where}: the status is not described")
    headers = {name.lower(): value for name, value in exchange.headers.items()}
    for name, header in answer.get("headers", {}).items():
        if document.resolve(header).get("required") and name.lower() not in headers:
            raise Undocumented(f"{where}: the header {name} is missing")
    content = answer.get("content", {})
    if not content:
        if exchange.body:
            raise Undocumented(f"{where}: a body where none is described: {exchange.body[:200]!r}")
        return
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if kind not in content:
        if exchange.body or (kind and exchange.body is None):
            raise Undocumented(f"{where}: the content type {kind!r} is not described")
        return
    if exchange.body is None or kind != _JSON:
        return
    entry = content[kind]
    for value in _values(exchange.body, bool(entry.get("x-carrick-lines")), where):
        document.validate(value, entry["schema"], where)


def _check_request(
    document: _Document, operation: Mapping[str, Any], exchange: Exchange, query: str, where: str
) -> None:
    known = {item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"}
    given = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    if unknown := given - known:
        raise Undocumented(f"{where}: undescribed parameters: {', '.join(sorted(unknown))}")
    needed = {
        item["name"]
        for item in operation.get("parameters", ())
        if item["in"] == "query" and item.get("required")
    }
    if missing := needed - given:
        raise Undocumented(f"{where}: accepted without: {', '.join(sorted(missing))}")
    body = operation.get("requestBody")
    if not exchange.request_body:
        return
    if body is None:
        if exchange.request_body.strip() not in (b"{}", b"null"):  # what clients send out of habit
            raise Undocumented(f"{where}: accepted with a body, and none is described")
        return
    if entry := body["content"].get(_JSON):
        document.validate(_parse(exchange.request_body, where), entry["schema"], f"{where} (request)")


def _values(body: bytes, by_line: bool, where: str) -> Iterator[Any]:
    if not by_line:
        yield _parse(body, where)
        return
    for line in body.splitlines():
        if line.strip():
            yield _parse(line, where)


def _parse(body: bytes, where: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Undocumented(f"{where}: no JSON: {body[:200]!r}") from error


class CheckedApi(Api):
    """An Api whose every exchange is checked; the documents are the daemon's own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.checker = ExchangeChecker(self._fetch)

    def _fetch(self, version: str) -> Any:
        prefix = f"/v{version}" if version else ""
        reply = super().call("GET", f"{prefix}/carrick/v1/openapi.json")
        assert reply.status == 200, reply
        return reply.json

    def call(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, timeout_s: float = 60.0
    ) -> Reply:
        reply = super().call(method, path, body, raw=raw, timeout_s=timeout_s)
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        self.checker.check(Exchange(method, path, reply.status, reply.headers, reply.body, data))
        return reply
