"""Files in and out of containers: `cp`, `export`, and `commit`."""

import base64

from aiohttp import web

from ....host.runtime.api import PathStat
from ....host.runtime.healthcheck import render_healthcheck
from ....model.errors import InvalidRequest
from ..call import Call, encode
from ..parse.containers import parse_config
from ..parse.fields import Fields
from ..render.times import render_time
from ..routing import Kind, Route
from ..streams import begin
from .images import join_reference


def routes() -> tuple[Route, ...]:
    return (
        Route("HEAD", "/containers/{id}/archive", head_archive),
        Route("GET", "/containers/{id}/archive", get_archive, Kind.STREAM),
        Route("PUT", "/containers/{id}/archive", put_archive, Kind.STREAM),
        Route("GET", "/containers/{id}/export", export, Kind.STREAM),
        Route("POST", "/commit", commit, Kind.CHANGE),
    )


def _path(call: Call) -> str:
    path = call.query("path")
    if not path:
        raise InvalidRequest("bad parameter: 'path' cannot be empty")
    if "\0" in path:
        raise InvalidRequest("bad parameter: 'path' holds a null byte")
    return path


def _stat_header(stat: PathStat) -> dict[str, str]:
    document = {
        "name": stat.name,
        "size": stat.size,
        "mode": stat.mode,
        "mtime": render_time(stat.mtime),
        "linkTarget": stat.link_target,
    }
    return {"X-Docker-Container-Path-Stat": base64.b64encode(encode(document).rstrip()).decode()}


async def head_archive(call: Call) -> web.StreamResponse:
    stat = await call.engine.containers.stat_path(call.parameter("id"), _path(call))
    response = call.empty(200)
    response.headers.update(_stat_header(stat))
    return response


async def get_archive(call: Call) -> web.StreamResponse:
    stat, parts = await call.engine.containers.get_archive(call.parameter("id"), _path(call))
    parts = await begin(parts, endless=False)
    try:
        response = await call.stream("application/x-tar", _stat_header(stat))
        return await call.send_all(response, parts)
    finally:
        await parts.aclose()


async def put_archive(call: Call) -> web.StreamResponse:
    await call.engine.containers.put_archive(
        call.parameter("id"),
        _path(call),
        call.body(),
        no_overwrite_dir_non_dir=call.flag("noOverwriteDirNonDir"),
        copy_uid_gid=call.flag("copyUIDGID"),
    )
    return call.empty(200)


async def export(call: Call) -> web.StreamResponse:
    parts = await begin(await call.engine.containers.export(call.parameter("id")), endless=False)
    try:
        return await call.send_all(await call.stream("application/octet-stream"), parts)
    finally:
        await parts.aclose()


def _changes_of(body: Fields) -> tuple[str, ...]:
    """Return what a Config in the body of a commit sets, as instructions."""
    config = parse_config(body)
    changes = [f"ENV {item}" for item in config.env]
    for name, words in (("CMD", config.cmd), ("ENTRYPOINT", config.entrypoint)):
        if words:
            changes.append(f"{name} {encode(words).decode().strip()}")
    for name, text in (
        ("WORKDIR", config.working_dir),
        ("USER", config.user),
        ("STOPSIGNAL", config.stop_signal),
    ):
        if text:
            changes.append(f"{name} {text}")
    changes += [f"EXPOSE {port}" for port in config.exposed_ports]
    changes += [f"VOLUME {encode([path]).decode().strip()}" for path in config.volumes]
    changes += [f"LABEL {_quoted(key)}={_quoted(value)}" for key, value in config.labels.items()]
    changes += [f"ONBUILD {line}" for line in config.on_build]
    if config.healthcheck and (line := render_healthcheck(config.healthcheck)):
        changes.append(f"HEALTHCHECK {line}")
    return tuple(changes)


def _quoted(text: str) -> str:
    return encode(text).decode().strip()


async def commit(call: Call) -> web.StreamResponse:
    """Make an image of a container. Changes come as repeated `changes`, or one per line."""
    container = call.query("container")
    if not container:
        raise InvalidRequest("bad parameter: 'container' cannot be empty")
    body = await call.document("Config", required=False) if call.request.can_read_body else Fields()
    changes = _changes_of(body)
    repository, tag = call.query("repo"), call.query("tag")
    changes += tuple(line for text in call.query_all("changes") for line in text.splitlines() if line.strip())
    identifier = await call.engine.images.commit(
        container,
        join_reference(repository, tag) if repository else "",
        author=call.query("author"),
        comment=call.query("comment"),
        changes=changes,
        pause=call.flag("pause", default=True),
    )
    return call.json({"Id": identifier}, 201)
