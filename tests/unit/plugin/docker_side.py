"""The plugin's server with an engine in memory, on a socket of its own, and Docker's side of the protocol."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from carrick.doors.plugin.server import PluginServer, PluginSettings
from carrick.engine.values import CreateNetwork
from carrick.model.networks import Network, Scope
from carrick.testing.fake_engine import FakeEngine
from carrick.testing.fake_networks import FakeNetworks

NETWORK, ENDPOINT = "n" * 64, "e" * 64
GATEWAY_TYPE = {"RequestAddressType": "com.docker.network.gateway"}


_MORE = ("overlay", "macvlan", "routed")


class Networks(FakeNetworks):
    """The fake networks, with config-only ones, and every driver there is."""

    def _add(self, request: CreateNetwork, subnet: str) -> str:
        identifier = super()._add(request, "" if request.config_only else subnet)
        self.networks[identifier] = replace(self.networks[identifier], config_only=request.config_only)
        return identifier

    async def create(self, request: CreateNetwork) -> Any:
        pools = request.pools
        if request.driver in ("bridge", "overlay"):
            pools = tuple(
                replace(pool, gateway=pool.gateway or str(pool.network.network_address + 1)) for pool in pools
            )
        made = await super().create(
            replace(request, driver="bridge" if request.driver in _MORE else request.driver, pools=pools)
        )
        scope = Scope.GLOBAL if request.driver == "overlay" else Scope.LOCAL
        self.networks[made.id] = replace(self.networks[made.id], driver=request.driver, scope=scope)
        return made


class Docker:
    """What dockerd says to the plugin; `carrickd` may be restarted in between."""

    def __init__(self, directory: Path) -> None:
        self.engine = FakeEngine()
        self.engine.networks = Networks(self.engine)
        self.socket = directory / "plugins" / "carrick.sock"
        self.scope = Scope.LOCAL
        self.server: PluginServer | None = None

    async def start(self) -> None:
        self.server = PluginServer(self.engine, PluginSettings(self.socket, scope=self.scope, docker=None))
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None

    async def restart(self) -> None:
        """A new server, which knows nothing but what the engine's store says."""
        await self.stop()
        await self.start()

    async def raw(self, path: str, body: bytes, method: str = "POST") -> tuple[int, Any]:
        connector = aiohttp.UnixConnector(str(self.socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://plugin{path}", data=body) as response,
        ):
            assert response.headers["Content-Type"] == "application/vnd.docker.plugins.v1.2+json"
            return response.status, json.loads(await response.read())

    async def call(self, method: str, **body: Any) -> Any:
        """Call what must succeed."""
        status, answer = await self.raw(f"/{method}", json.dumps(body).encode())
        assert status == 200, answer
        return answer

    async def refused(self, method: str, **body: Any) -> tuple[int, str]:
        """Call what must fail; return the status and what is said."""
        status, answer = await self.raw(f"/{method}", json.dumps(body).encode())
        assert status != 200, answer
        return status, answer["Err"]

    # --- dockerd's sequences

    async def pool(self, subnet: str = "", *, v6: bool = False, ip_range: str = "", **options: str) -> Any:
        return await self.call(
            "IpamDriver.RequestPool",
            AddressSpace="CarrickLocal", Pool=subnet, SubPool=ip_range, Options=options, V6=v6,
        )  # fmt: skip

    async def address(self, pool: str, address: str = "", *, gateway: bool = False) -> str:
        options = GATEWAY_TYPE if gateway else {}
        answer = await self.call("IpamDriver.RequestAddress", PoolID=pool, Address=address, Options=options)
        return str(answer["Address"])

    async def create_network(
        self,
        identifier: str = NETWORK,
        *,
        subnet: str = "",
        gateway: str = "",
        ipam: dict[str, str] | None = None,
        internal: bool = False,
        **options: str,
    ) -> str:
        """What `docker network create` does; return the pool's id."""
        pool = await self.pool(subnet, **(ipam or {}))
        given = await self.address(pool["PoolID"], gateway, gateway=True)
        await self.announce(identifier, pool["Pool"], given, internal=internal, **options)
        return str(pool["PoolID"])

    async def announce(
        self, identifier: str, subnet: str, gateway: str, *, internal: bool = False, **options: str
    ) -> None:
        flags = {"com.docker.network.enable_ipv6": False}
        if internal:
            flags["com.docker.network.internal"] = True
        await self.call(
            "NetworkDriver.CreateNetwork",
            NetworkID=identifier,
            Options={"com.docker.network.generic": options, **flags},
            IPv4Data=[{"AddressSpace": "CarrickLocal", "Pool": subnet, "Gateway": gateway}],
            IPv6Data=[],
        )

    async def create_endpoint(self, pool: str, endpoint: str = ENDPOINT, network: str = NETWORK) -> str:
        """What a container's start does before Join; return the address."""
        address = await self.address(pool)
        await self.call(
            "NetworkDriver.CreateEndpoint",
            NetworkID=network, EndpointID=endpoint, Interface={"Address": address}, Options={},
        )  # fmt: skip
        return address

    def named(self, name: str) -> Network:
        return next(item for item in self.engine.networks.networks.values() if item.name == name)

    def names(self) -> set[str]:
        """Return the networks beyond those that every host has."""
        return {item.name for item in self.engine.networks.networks.values()} - {"bridge", "host", "none"}
