"""Being one of several hosts: the cluster, its nodes, and this node's peers."""

from aiohttp import web

from ..call import Call
from ..parse.cluster import parse_init, parse_join, parse_token, parse_update
from ..render.cluster import render_cluster, render_node, render_peer
from ..render.unreadable import render_unreadable
from ..routing import Kind, Route


def routes() -> tuple[Route, ...]:
    change = Kind.CHANGE
    return (
        Route("GET", "/carrick/v1/cluster", inspect),
        Route("POST", "/carrick/v1/cluster", init, change),
        Route("DELETE", "/carrick/v1/cluster", leave, change),
        Route("POST", "/carrick/v1/cluster/join", join, change),
        Route("POST", "/carrick/v1/cluster/token", token, change),
        Route("POST", "/carrick/v1/cluster/recover", recover, change),
        Route("POST", "/carrick/v1/cluster/keys", rotate_key, change),
        Route("GET", "/carrick/v1/nodes", list_nodes),
        Route("GET", "/carrick/v1/nodes/{id}", inspect_node),
        Route("POST", "/carrick/v1/nodes/{id}", update_node, change),
        Route("DELETE", "/carrick/v1/nodes/{id}", remove_node, change),
        Route("GET", "/carrick/v1/peers", list_peers),
    )


async def inspect(call: Call) -> web.StreamResponse:
    shown = render_cluster(await call.engine.cluster.get())
    shown["Warnings"] += render_unreadable(call.engine.cluster.unreadable())
    return call.json(shown)


async def init(call: Call) -> web.StreamResponse:
    request = parse_init(await call.document("InitRequest", required=False))
    return call.json(render_cluster(await call.engine.cluster.init(request)), 201)


async def join(call: Call) -> web.StreamResponse:
    request = parse_join(await call.document("JoinRequest"))
    return call.json(render_cluster(await call.engine.cluster.join(request)), 201)


async def leave(call: Call) -> web.StreamResponse:
    await call.engine.cluster.leave(force=call.flag("force"))
    return call.empty()


async def token(call: Call) -> web.StreamResponse:
    ttl_s, uses = parse_token(await call.document("TokenRequest", required=False))
    return call.json({"Token": await call.engine.cluster.token(ttl_s, uses)}, 201)


async def recover(call: Call) -> web.StreamResponse:
    return call.json({"Records": await call.engine.cluster.recover()})


async def rotate_key(call: Call) -> web.StreamResponse:
    return call.json({"WireguardKey": await call.engine.cluster.rotate_key()})


async def list_nodes(call: Call) -> web.StreamResponse:
    return call.json([render_node(view) for view in await call.engine.cluster.nodes()])


async def inspect_node(call: Call) -> web.StreamResponse:
    return call.json(render_node(await call.engine.cluster.node(call.parameter("id"))))


async def update_node(call: Call) -> web.StreamResponse:
    request = parse_update(await call.document("NodeUpdate"))
    await call.engine.cluster.update_node(call.parameter("id"), request)
    return call.empty()


async def remove_node(call: Call) -> web.StreamResponse:
    await call.engine.cluster.remove_node(call.parameter("id"), force=call.flag("force"))
    return call.empty()


async def list_peers(call: Call) -> web.StreamResponse:
    return call.json([render_peer(view) for view in await call.engine.cluster.peers()])
