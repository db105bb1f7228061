"""A small third-party Docker plugin: `python -m carrick.testing.fake_plugin SOCKET`.

It speaks libnetwork's remote network and IPAM protocols as they are documented, and knows nothing of
Carrick. A network is a Linux bridge, an endpoint a veth pair; pools are cut from 10.201.0.0/16 and
fd00:201::/48. It keeps everything in memory: restarted, it has forgotten all of it, though links stay.

Its pid is in a file beside the socket. For tests it answers two calls more: `/Test.Behave` ({"Method",
"Hang", "Err"}) makes it misbehave at a call from then on, and `/Test.State` tells what it has, and which
calls it got.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from aiohttp import web

Json = dict[str, Any]
_TYPE = "application/vnd.docker.plugins.v1.2+json"
_PARENT4, _PARENT6 = IPv4Network("10.201.0.0/16"), IPv6Network("fd00:201::/48")
GATEWAY = "com.docker.network.gateway"


class _SaidNoError(Exception):
    """What the plugin says instead of doing it."""


@dataclass(slots=True)
class _Network:
    bridge: str
    gateways: dict[int, str] = field(default_factory=dict)
    options: Json = field(default_factory=dict)


@dataclass(slots=True)
class _Endpoint:
    network: str
    link: str
    peer: str
    joined: str = ""


@dataclass(slots=True)
class _Pool:
    subnet: IPv4Network | IPv6Network
    taken: set[str] = field(default_factory=set)


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and check:
        raise _SaidNoError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class FakePlugin:
    """The plugin without its socket: `handle` answers one call.

    `implements` and `capabilities` are what it says of itself. With `kernel` off it makes no links. With
    `missing` calls it answers 404, as a plugin that does not have them.
    """

    def __init__(
        self,
        *,
        implements: tuple[str, ...] = ("NetworkDriver", "IpamDriver"),
        capabilities: Json | None = None,
        kernel: bool = True,
        missing: tuple[str, ...] = (),
        prefix: str = "fp",
    ) -> None:
        self.networks: dict[str, _Network] = {}
        self.endpoints: dict[str, _Endpoint] = {}
        self.pools: dict[str, _Pool] = {}
        self.calls: list[tuple[str, Json]] = []
        self.behaviour: dict[str, Json] = {}
        self.implements = implements
        self.missing = set(missing)
        self.scope = "local"
        self._capabilities = capabilities or {}
        self._kernel = kernel
        self._prefix = prefix
        self._handlers: dict[str, Callable[[Json], Json]] = {
            "Plugin.Activate": lambda _: {"Implements": list(self.implements)},
            "NetworkDriver.GetCapabilities": lambda _: {"Scope": self.scope, "ConnectivityScope": "local"},
            "NetworkDriver.CreateNetwork": self._create_network,
            "NetworkDriver.DeleteNetwork": self._delete_network,
            "NetworkDriver.CreateEndpoint": self._create_endpoint,
            "NetworkDriver.EndpointOperInfo": self._oper_info,
            "NetworkDriver.DeleteEndpoint": self._delete_endpoint,
            "NetworkDriver.Join": self._join,
            "NetworkDriver.Leave": self._leave,
            "NetworkDriver.ProgramExternalConnectivity": self._known,
            "NetworkDriver.RevokeExternalConnectivity": self._known,
            "IpamDriver.GetCapabilities": lambda _: self._capabilities,
            "IpamDriver.GetDefaultAddressSpaces": lambda _: {
                "LocalDefaultAddressSpace": "here",
                "GlobalDefaultAddressSpace": "everywhere",
            },
            "IpamDriver.RequestPool": self._request_pool,
            "IpamDriver.ReleasePool": self._release_pool,
            "IpamDriver.RequestAddress": self._request_address,
            "IpamDriver.ReleaseAddress": self._release_address,
        }

    async def handle(self, method: str, request: Json) -> tuple[int, Json]:
        """Answer a call: a status, and the body."""
        self.calls.append((method, request))
        behaviour = self.behaviour.get(method, {})
        if behaviour.get("Hang"):
            await asyncio.Event().wait()
        key = "Error" if method.startswith("IpamDriver.") else "Err"
        if behaviour.get("Err"):
            return 200, {key: behaviour["Err"]}
        handler = self._handlers.get(method)
        if handler is None or method in self.missing:
            return 404, {key: f"no {method}"}
        try:
            return 200, handler(request)
        except _SaidNoError as error:
            return 200, {key: str(error)}

    def state(self) -> Json:
        return {
            "networks": sorted(self.networks),
            "endpoints": {key: item.joined for key, item in self.endpoints.items()},
            "pools": {key: sorted(pool.taken) for key, pool in self.pools.items()},
            "calls": [[method, request] for method, request in self.calls],
        }

    # Networks --------------------------------------------------------------------------------

    def _create_network(self, request: Json) -> Json:
        identifier = request["NetworkID"]
        if identifier in self.networks:
            raise _SaidNoError(f"network {identifier} exists")
        options = request["Options"].get("com.docker.network.generic") or {}
        if options.get("refuse"):
            raise _SaidNoError(f"the test says {options['refuse']}")
        bridge = f"{self._prefix}{identifier[:8]}"
        gateways = {}
        for version, key in ((4, "IPv4Data"), (6, "IPv6Data")):
            for data in request[key]:
                if data.get("Gateway"):
                    gateways[version] = data["Gateway"]
        if self._kernel:
            _ip("link", "add", bridge, "type", "bridge", check=False)
            for gateway in gateways.values():
                _ip("addr", "replace", gateway, "dev", bridge, "nodad")
            _ip("link", "set", bridge, "up")
        self.networks[identifier] = _Network(bridge, gateways, request["Options"])
        return {}

    def _delete_network(self, request: Json) -> Json:
        network = self.networks.pop(request["NetworkID"], None)
        if network is None:
            raise _SaidNoError(f"network {request['NetworkID']} is not known")
        if self._kernel:
            _ip("link", "del", network.bridge, check=False)
        return {}

    # Endpoints -------------------------------------------------------------------------------

    def _create_endpoint(self, request: Json) -> Json:
        network = self.networks.get(request["NetworkID"])
        if network is None:
            raise _SaidNoError(f"network {request['NetworkID']} is not known")
        identifier, asked = request["EndpointID"], request["Interface"] or {}
        if identifier in self.endpoints:
            raise _SaidNoError(f"endpoint {identifier} exists")
        endpoint = _Endpoint(request["NetworkID"], f"{self._prefix}{identifier[:8]}h", f"fpp{identifier[:8]}")
        given = {}
        if not asked.get("MacAddress"):
            given["MacAddress"] = ":".join(["02", "f0", *(identifier[n : n + 2] for n in range(0, 8, 2))])
        if self._kernel:
            _ip("link", "add", endpoint.link, "type", "veth", "peer", "name", endpoint.peer)
            _ip("link", "set", endpoint.link, "master", network.bridge, "up")
        self.endpoints[identifier] = endpoint
        if "modify" in network.options.get("com.docker.network.generic", {}):
            given["Address"] = "10.0.0.99/8"
        return {"Interface": given}

    def _endpoint(self, request: Json) -> _Endpoint:
        found = self.endpoints.get(request["EndpointID"])
        if found is None:
            raise _SaidNoError(f"endpoint {request['EndpointID']} is not known")
        return found

    def _known(self, request: Json) -> Json:
        self._endpoint(request)
        return {}

    def _oper_info(self, request: Json) -> Json:
        return {"Value": {"link": self._endpoint(request).link}}

    def _delete_endpoint(self, request: Json) -> Json:
        endpoint = self._endpoint(request)
        del self.endpoints[request["EndpointID"]]
        if self._kernel:
            _ip("link", "del", endpoint.link, check=False)
        return {}

    def _join(self, request: Json) -> Json:
        endpoint, network = self._endpoint(request), self.networks[request["NetworkID"]]
        endpoint.joined = request["SandboxKey"]
        gateways = {version: text.partition("/")[0] for version, text in network.gateways.items()}
        return {
            "InterfaceName": {"SrcName": endpoint.peer, "DstPrefix": "fake"},
            "Gateway": gateways.get(4, ""),
            "GatewayIPv6": gateways.get(6, ""),
            "StaticRoutes": [
                {"Destination": "198.51.100.0/24", "RouteType": 0, "NextHop": gateways[4]},
                {"Destination": "203.0.113.7/32", "RouteType": 1},
            ]
            if 4 in gateways
            else [],
            "DisableGatewayService": False,
        }

    def _leave(self, request: Json) -> Json:
        endpoint = self._endpoint(request)
        if not endpoint.joined:
            raise _SaidNoError(f"endpoint {request['EndpointID']} has not joined")
        endpoint.joined = ""
        return {}

    # Addresses -------------------------------------------------------------------------------

    def _request_pool(self, request: Json) -> Json:
        if request["AddressSpace"] != "here":
            raise _SaidNoError(f"unknown address space {request['AddressSpace']}")
        if request["Pool"]:
            subnet = ip_network(request["Pool"])
        else:
            parent = _PARENT6 if request["V6"] else _PARENT4
            length = 64 if request["V6"] else 24
            taken = {pool.subnet for pool in self.pools.values()}
            subnet = next(item for item in parent.subnets(new_prefix=length) if item not in taken)
        identifier = f"pool-{subnet}"
        if identifier in self.pools:
            raise _SaidNoError(f"pool {subnet} is taken")
        self.pools[identifier] = _Pool(subnet)
        return {"PoolID": identifier, "Pool": str(subnet), "Data": {}}

    def _pool(self, request: Json) -> _Pool:
        found = self.pools.get(request["PoolID"])
        if found is None:
            raise _SaidNoError(f"pool {request['PoolID']} is not known")
        return found

    def _release_pool(self, request: Json) -> Json:
        if self._pool(request).taken:
            raise _SaidNoError(f"pool {request['PoolID']} has addresses in use")
        del self.pools[request["PoolID"]]
        return {}

    def _request_address(self, request: Json) -> Json:
        pool = self._pool(request)
        if self._capabilities.get("RequiresMACAddress") and not (
            request["Options"].get("RequestAddressType")
            or request["Options"].get("com.docker.network.endpoint.macaddress")
        ):
            raise _SaidNoError("a MAC address is needed")
        if request["Address"]:
            address = str(ip_address(request["Address"]))
            if address in pool.taken:
                raise _SaidNoError("requested address is already in use")
        else:
            hosts = (str(item) for item in pool.subnet.hosts())
            free = next((item for item in hosts if item not in pool.taken), None)
            if free is None:
                raise _SaidNoError("no available addresses")
            address = free
        pool.taken.add(address)
        return {"Address": f"{address}/{pool.subnet.prefixlen}", "Data": {}}

    def _release_address(self, request: Json) -> Json:
        pool = self._pool(request)
        address = str(ip_interface(request["Address"]).ip)
        if address not in pool.taken:
            raise _SaidNoError(f"address {address} is not in use")
        pool.taken.discard(address)
        return {}


def application(plugin: FakePlugin) -> web.Application:
    """Return the plugin as an HTTP server."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        content: Json = json.loads(body) if body.strip() else {}
        method = request.match_info["method"]
        if method == "Test.State":
            return web.json_response(plugin.state())
        if method == "Test.Behave":
            plugin.behaviour[content["Method"]] = content
            return web.json_response({})
        status, found = await plugin.handle(method, content)
        return web.Response(status=status, text=json.dumps(found), content_type=_TYPE)

    app = web.Application()
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = answer
    app.router.add_post("/{method}", handler)
    return app


async def serve(plugin: FakePlugin, socket: Path) -> web.AppRunner:
    """Serve on a Unix socket until the runner is cleaned up."""
    runner = web.AppRunner(application(plugin), shutdown_timeout=0.1)
    await runner.setup()
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(socket)).start()
    return runner


async def _run(options: argparse.Namespace) -> None:
    capabilities = dict.fromkeys(options.requires, True)
    plugin = FakePlugin(capabilities=capabilities, implements=tuple(options.implements))
    runner = await serve(plugin, options.socket)
    options.socket.with_suffix(".pid").write_text(str(os.getpid()))
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(prog="fake_plugin")
    parser.add_argument("socket", type=Path)
    parser.add_argument("--requires", nargs="*", default=[])
    parser.add_argument("--implements", nargs="*", default=["NetworkDriver", "IpamDriver"])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
