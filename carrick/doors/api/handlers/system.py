"""The daemon itself: ping, version, info, disk usage, events; and what it refuses to be."""

from collections import Counter

from aiohttp import web

from ....host.runtime.image_store import RegistryAuth
from ....model.containers import MountType
from ....model.errors import Denied, InvalidRequest, NotFound, Unavailable, Unsupported
from ..call import Call, encode
from ..render.containers import render_container_entry
from ..render.images import render_image_entry
from ..render.system import render_event, render_info, render_version, render_volume
from ..routing import ApiVersion, Handler, Kind, Route
from ..streams import begin
from .images import auth_of

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)
_BUILDER_SIZE_GONE: ApiVersion = (1, 42)
_PING_HEADERS = {
    "Builder-Version": "",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
}


def routes() -> tuple[Route, ...]:
    return (
        Route("GET", "/_ping", ping),
        Route("HEAD", "/_ping", ping),
        Route("GET", "/version", version),
        Route("GET", "/info", info),
        Route("GET", "/events", events, Kind.STREAM),
        Route("GET", "/system/df", disk_usage),
        Route("POST", "/auth", login),
        Route("GET", "/plugins", plugins),
        Route("GET", "/plugins/{name:path}/json", no_plugin),
        Route("POST", "/build", build),
        Route("POST", "/build/prune", build_prune),
        Route("POST", "/session", build),
        Route("POST", "/grpc", build),
        *_swarm_routes(),
    )


def _swarm_routes() -> tuple[Route, ...]:
    objects = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
    lists = tuple(Route("GET", f"/{name}", no_swarm) for name in objects)
    one: tuple[Route, ...] = tuple(
        Route(method, f"/{name}/{{rest:path}}", no_swarm)
        for name in objects[1:]
        for method in ("GET", "POST", "DELETE")
    )
    special: tuple[tuple[str, Handler], ...] = (
        ("init", no_swarm_mode),
        ("join", no_swarm_mode),
        ("leave", not_in_swarm),
        ("update", no_swarm),
        ("unlock", no_swarm),
    )
    return (
        *lists,
        *(Route("POST", f"/swarm/{name}", handler) for name, handler in special),
        Route("GET", "/swarm/unlockkey", no_swarm),
        *one,
    )


async def ping(call: Call) -> web.StreamResponse:
    return call.text("OK", _PING_HEADERS)


async def version(call: Call) -> web.StreamResponse:
    return call.json(render_version(await call.engine.system.info(), call.site.release))


async def info(call: Call) -> web.StreamResponse:
    known = await call.engine.system.info()
    containers = await call.engine.containers.list(all=True, filters={})
    images = await call.engine.images.list(all=True, filters={})
    return call.json(
        render_info(known, containers, len(images), call.site.release, call.site.now(), call.version)
    )


async def events(call: Call) -> web.StreamResponse:
    """Stream events, one line of JSON each; the headers go out at once."""
    since, until = call.timestamp("since"), call.timestamp("until")
    if since is not None and until is not None and since > until:
        raise InvalidRequest(
            f"`since` time ({call.query('since')}) cannot be after `until` time ({call.query('until')})"
        )
    source = call.engine.system.events(since_ns=since, until_ns=until, filters=call.filters())
    found = await begin(source, endless=True)
    try:
        response = await call.stream("application/json")
        async for event in found:
            await response.write(encode(render_event(event, call.version)))
        return response
    finally:
        await found.aclose()


async def disk_usage(call: Call) -> web.StreamResponse:
    """Answer `system df`; `type` limits it to kinds of objects."""
    kinds = call.query_all("type") or ("container", "image", "volume", "build-cache")
    unknown = set(kinds) - {"container", "image", "volume", "build-cache"}
    if unknown:
        raise InvalidRequest(f"unknown object type: {sorted(unknown)[0]}")
    containers = await call.engine.containers.list(all=True, filters={})
    document: dict[str, object] = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None}
    if "image" in kinds:
        images = await call.engine.images.list(all=True, filters={})
        used = Counter(view.record.image_id for view in containers)
        document["LayersSize"] = await call.engine.images.bytes_on_disk()
        document["Images"] = [render_image_entry(image, call.version, used[image.id]) for image in images]
    if "container" in kinds:
        entries = []
        for view in containers:
            try:
                size = await call.engine.containers.size(view.record.id)
            except NotFound:
                continue  # removed since it was listed
            entries.append(render_container_entry(view, call.version, call.site.now(), size))
        document["Containers"] = entries
    if "volume" in kinds:
        references = Counter(
            mount.name
            for view in containers
            for mount in view.record.mounts
            if mount.type is MountType.VOLUME
        )
        document["Volumes"] = [
            render_volume(volume, await _volume_size(call, volume.name), references[volume.name])
            for volume in await call.engine.volumes.list({})
        ]
    if call.version < _BUILDER_SIZE_GONE:
        document["BuilderSize"] = 0
    return call.json(document | {"BuildCache": []})


async def _volume_size(call: Call, name: str) -> int | None:
    try:
        return await call.engine.volumes.size(name)
    except NotFound:
        return None  # removed since it was listed


async def login(call: Call) -> web.StreamResponse:
    """Check credentials with their registry; nobody is told that they are good without a check."""
    body = await call.document("AuthConfig")
    auth = auth_of(body) or RegistryAuth()
    try:
        token = await call.engine.images.check_credentials(body.text("serveraddress"), auth)
    except Denied as error:
        return call.json({"message": error.message}, 401)
    return call.json({"Status": "Login Succeeded", "IdentityToken": token})


async def plugins(call: Call) -> web.StreamResponse:
    return call.json([])


async def no_plugin(call: Call) -> web.StreamResponse:
    raise NotFound(f'plugin "{call.parameter("name")}" not found')


async def build(call: Call) -> web.StreamResponse:
    raise Unsupported("build is not served; use buildah or docker buildx")


async def build_prune(call: Call) -> web.StreamResponse:
    return call.json({"CachesDeleted": None, "SpaceReclaimed": 0})


async def no_swarm(call: Call) -> web.StreamResponse:
    raise Unavailable(_NO_SWARM)


async def not_in_swarm(call: Call) -> web.StreamResponse:
    raise Unavailable("This node is not part of a swarm")


async def no_swarm_mode(call: Call) -> web.StreamResponse:
    raise Unsupported("Carrick has no swarm mode")
