"""Logs and statistics of containers: answers that go on for as long as someone reads."""

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import quote_plus

from aiohttp import web

from ....engine.values import ContainerView
from ....host.runtime.api import ContainerStats, LogEntry, LogQuery, Stream
from ....model.errors import InvalidRequest, NotFound
from ....model.ids import short
from ..call import Call, encode
from ..errors import reply_to
from ..parse.query import parse_tail
from ..render.stats import render_stats
from ..render.times import render_log_time
from ..routing import ApiVersion, Kind, Route
from ..streams import MULTIPLEXED_STREAM, RAW_STREAM, SYSTEM_ERROR, begin, frame

_MULTIPLEXED: ApiVersion = (1, 42)
_TAG_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


def routes() -> tuple[Route, ...]:
    return (
        Route("GET", "/containers/{id}/logs", logs, Kind.STREAM),
        Route("GET", "/containers/{id}/stats", stats, Kind.STREAM),
    )


def stream_type(tty: bool, version: ApiVersion) -> str:
    """Return the content type of a container's output."""
    return MULTIPLEXED_STREAM if not tty and version >= _MULTIPLEXED else RAW_STREAM


async def logs(call: Call) -> web.StreamResponse:
    query = LogQuery(
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        tail=parse_tail(call.query("tail") or None),
        since_ns=call.timestamp("since"),
        until_ns=call.timestamp("until"),
        follow=call.flag("follow"),
    )
    if not (query.stdout or query.stderr):
        raise InvalidRequest("Bad parameters: you must choose at least one stream")
    view = await call.engine.containers.get(call.parameter("id"))
    source = call.engine.containers.logs(view.record.id, query)
    entries = await begin(source, endless=query.follow)
    try:
        tty = view.record.config.tty
        response = await call.stream(stream_type(tty, call.version))
        prefix = _details(view) + b" " if call.flag("details") else b""
        parts = render_log(entries, tty=tty, timestamps=call.flag("timestamps"), prefix=prefix)
        return await call.send_all(response, parts)
    finally:
        await entries.aclose()


async def render_log(
    entries: AsyncIterator[LogEntry], *, tty: bool, timestamps: bool = False, prefix: bytes = b""
) -> AsyncIterator[bytes]:
    """Yield the log as the API sends it. A line in parts is stamped at its beginning only."""
    continued: set[Stream] = set()
    try:
        async for entry in entries:
            data = entry.data
            if entry.stream not in continued:
                stamp = render_log_time(entry.time_ns) + b" " if timestamps else b""
                data = stamp + prefix + data
            if entry.partial:
                continued.add(entry.stream)
            else:
                continued.discard(entry.stream)
            yield data if tty else frame(entry.stream, data)
    except Exception as error:
        message = f"Error grabbing logs: {reply_to(error).message}\n".encode()
        yield message if tty else frame(SYSTEM_ERROR, message)


def _details(view: ContainerView) -> bytes:
    """Return the labels and variables that the log's options name, and its tag, as `a=b,c=d`."""
    options = view.record.host_config.log_config.options
    config = view.record.config
    variables = dict(entry.partition("=")[::2] for entry in config.env)
    found: dict[str, str] = {}
    for option, values in (("labels", config.labels), ("env", variables)):
        names = options.get(option, "").split(",")
        found |= {name: values[name] for name in names if name in values}
        if pattern := options.get(f"{option}-regex"):
            found |= {name: value for name, value in values.items() if _matches(pattern, name)}
    if tag := options.get("tag"):
        found["tag"] = _fill_in(tag, view)
    pairs = (f"{quote_plus(name)}={quote_plus(value)}" for name, value in sorted(found.items()))
    return ",".join(pairs).encode()


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return False


def _fill_in(tag: str, view: ContainerView) -> str:
    """Return a log's tag with its fields (`{{.Name}}`) filled in."""
    record = view.record
    values = {
        "ID": short(record.id),
        "FullID": record.id,
        "Name": record.name,
        "ImageID": short(record.image_id),
        "ImageFullID": record.image_id,
        "ImageName": record.asked_image,
        "DaemonName": "carrick",
    }
    return _TAG_FIELD.sub(lambda found: values.get(found[1], found[0]), tag)


async def stats(call: Call) -> web.StreamResponse:
    """Stream a sample a second, each with the one before; or answer with one.

    A single one takes two samples a second apart, unless `one-shot` waives the percentages.
    """
    view = await call.engine.containers.get(call.parameter("id"))
    container_id = view.record.id
    stream = call.flag("stream", default=True)
    if not stream:
        previous = None
        if view.state.is_running and not call.flag("one-shot"):
            previous = await call.engine.containers.stats(container_id)
            await asyncio.sleep(call.site.stats_interval_s)
        sample = await call.engine.containers.stats(container_id)
        return call.json(_render(await call.engine.containers.get(container_id), sample, previous))
    previous = await call.engine.containers.stats(container_id) if view.state.is_running else None
    response = await call.stream("application/json")
    try:
        while True:
            await asyncio.sleep(call.site.stats_interval_s)
            view = await call.engine.containers.get(container_id)
            sample = await call.engine.containers.stats(container_id)
            await response.write(encode(_render(view, sample, previous)))
            previous = sample if view.state.is_running else None
    except NotFound:
        return response  # removed while we watched


def _render(view: ContainerView, sample: ContainerStats, previous: ContainerStats | None) -> object:
    return render_stats(
        sample,
        previous,
        container_id=view.record.id,
        name=view.record.name,
        is_running=view.state.is_running,
    )
