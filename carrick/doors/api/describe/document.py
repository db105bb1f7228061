"""Join routes and operations to one OpenAPI 3.1 document.

What an operation does not say is taken from its route: the parameters of the path, its name, its tag.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from ..routing import MAX_VERSION, MIN_VERSION, ApiVersion, Kind, Route, version_text
from . import carrick, cluster, containers, guests, images, lending, networks, processes, system, volumes
from .kinds import SchemaWriter
from .operations import ALWAYS, ERROR, JSON, Answer, Body, Operation, Parameter

OPERATIONS = (
    *carrick.OPERATIONS.items(),
    *cluster.OPERATIONS.items(),
    *lending.OPERATIONS.items(),
    *containers.OPERATIONS.items(),
    *guests.OPERATIONS.items(),
    *images.OPERATIONS.items(),
    *networks.OPERATIONS.items(),
    *processes.OPERATIONS.items(),
    *system.OPERATIONS.items(),
    *volumes.OPERATIONS.items(),
)

_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
_HEADERS = ("Api-Version", "Docker-Experimental", "Ostype", "Server")
_TITLES = {
    304: "It already is as asked for; without a body",
    400: "The request has to be changed",
    401: "The registry refuses the credentials",
    403: "Not allowed",
    404: "There is no such object",
    409: "It exists, is in use, or is in the wrong state",
    500: "The request was right, and failed; or a bug",
    501: "This daemon or kernel cannot",
    503: "Try later",
}
_PATH_PARAMETERS = {
    "containers": "The container's name, or its id or the beginning of it",
    "networks": "The network's name, or its id or the beginning of it",
    "images": "The image's name or id; slashes in it are part of the path",
    "distribution": "The image's name; slashes in it are part of the path",
    "exec": "The exec's id",
    "volumes": "The volume's name",
    "nodes": "The node's name, or its id or the beginning of it",
    "plugins": "The plugin's name",
}
_ABOUT = """\
The Docker Engine API, as Carrick serves it, and Carrick's own under `/carrick/v1`. Paths exist with a \
version (`/v{newest}/containers/json`) and without, which means the newest; served are {oldest} to {newest}. \
This document describes {version}; `GET /v1.24/carrick/v1/openapi.json` and so on have the others.

What is shown is described exactly. What is asked is read as Go reads JSON: names match in any case, null \
is the same as absent, unknown keys are ignored. A request that changes something runs to its end even if \
its client goes away.

`x-carrick-lines` marks answers that hold any number of JSON values, one to a line. An answer with status \
101 carries the bytes of a process after its head."""


def build_document(routes: Iterable[Route], version: ApiVersion, release: str) -> dict[str, Any]:
    """Return the document of one API version. Raises KeyError for a route that nobody has described."""
    described = dict(OPERATIONS)
    writer = SchemaWriter(version)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = described[f"{route.method} {route.template}"]
        place = paths.setdefault(_PARAMETER.sub(r"{\1}", route.template), {})
        place[route.method.lower()] = _operation(route, operation, writer, version)
    about = _ABOUT.format(
        newest=version_text(MAX_VERSION), oldest=version_text(MIN_VERSION), version=version_text(version)
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Carrick",
            "version": version_text(version),
            "description": about,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "x-carrick-release": release,
            "x-carrick-versions": [version_text(MIN_VERSION), version_text(MAX_VERSION)],
        },
        "servers": [{"url": f"/v{version_text(version)}"}, {"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(writer.components.items())),
            "headers": {name: {"required": True, "schema": {"type": "string"}} for name in _HEADERS},
        },
    }


def undescribed(routes: Iterable[Route]) -> tuple[set[str], set[str]]:
    """Return the routes without a description, and the descriptions without a route."""
    known = {f"{route.method} {route.template}" for route in routes}
    described = {key for key, _ in OPERATIONS}
    return known - described, described - known


def _operation(
    route: Route, operation: Operation, writer: SchemaWriter, version: ApiVersion
) -> dict[str, Any]:
    segments = [part for part in route.template.split("/") if part]
    document: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": operation.summary,
        "tags": [segments[0] if segments[0] != "_ping" else "system"],
    }
    if operation.text:
        document["description"] = operation.text
    parameters = [*_path_parameters(route, segments), *_parameters(operation.parameters, writer)]
    if parameters:
        document["parameters"] = parameters
    if operation.body is not None:
        document["requestBody"] = _body(operation.body, writer)
    answers = {
        **{
            status: _answer(answer, writer)
            for status, answer in operation.answers.items()
            if answer.since <= version
        },
        **{status: _error(status, writer) for status in {*operation.errors, *ALWAYS}},
    }
    has_body = route.method != "HEAD"
    document["responses"] = {
        str(status): answer if has_body else {key: value for key, value in answer.items() if key != "content"}
        for status, answer in sorted(answers.items())
    }
    if route.kind is Kind.STREAM:
        document["x-carrick-stream"] = True
    return document


def _identifier(route: Route) -> str:
    words = re.findall(r"\w+", route.template)
    ending = "Slash" if route.template.endswith("/") else ""
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words) + ending


def _path_parameters(route: Route, segments: list[str]) -> list[dict[str, Any]]:
    about = next((_PATH_PARAMETERS[part] for part in segments if part in _PATH_PARAMETERS), "Anything")
    return [
        {
            "name": match[1],
            "in": "path",
            "required": True,
            "description": about,
            "schema": {"type": "string", "minLength": 1},
        }
        for match in _PARAMETER.finditer(route.template)
    ]


def _parameters(parameters: Iterable[Parameter], writer: SchemaWriter) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "in": item.place,
            **({"required": True} if item.required else {}),
            "description": item.text,
            "schema": writer.schema(item.kind, asked=True),
        }
        for item in parameters
    ]


def _body(body: Body, writer: SchemaWriter) -> dict[str, Any]:
    content = {
        kind: {"schema": writer.schema(value, asked=True)} if kind == JSON else {}
        for kind, value in body.content.items()
    }
    return {"required": body.required, "content": content}


def _answer(answer: Answer, writer: SchemaWriter) -> dict[str, Any]:
    headers: dict[str, Any] = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    headers |= {
        name: {"required": True, "description": text, "schema": {"type": "string"}}
        for name, text in answer.headers.items()
    }
    document: dict[str, Any] = {"description": answer.text, "headers": headers}
    if answer.content:
        content: dict[str, dict[str, Any]] = {
            kind: {"schema": writer.schema(value)} for kind, value in answer.content.items()
        }
        if answer.lines:
            for entry in content.values():
                entry["x-carrick-lines"] = True
        document["content"] = content
    return document


def _error(status: int, writer: SchemaWriter) -> dict[str, Any]:
    text = _TITLES.get(status, HTTPStatus(status).phrase)
    return _answer(Answer(text) if status == 304 else Answer(text, {JSON: ERROR}), writer)
