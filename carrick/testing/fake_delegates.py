"""CNI plugins and Docker plugins in memory, for an engine over fakes: no program is run, nobody is called.

Both make their links on the `FakeKernel`, and remember what they gave, so that a test can tell what is left.
"""

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ..host.cni import Answer
from ..host.plugins.client import read_answer
from ..model.errors import InvalidRequest, NotFound, Unavailable
from ..model.steps import AddAddress, CreateVeth, DeleteLink, SetLink
from .fake_kernel import FakeKernel
from .fake_plugin import FakePlugin

CONFIGURATION = {
    "cniVersion": "1.0.0",
    "name": "third",
    "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.77.0.0/24"}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


class FakeCni:
    """Implements `CniRunner`. `bridge` makes a link and gives an address, every other plugin agrees.

    `behaviour` maps a plugin and a command to what it does instead: an answer, or an error to raise.
    """

    def __init__(
        self, kernel: FakeKernel, plugins: Sequence[str] = ("bridge", "host-local", "portmap")
    ) -> None:
        self.kernel = kernel
        self.plugins = set(plugins)
        self.files: dict[str, str] = {"/etc/third.conflist": json.dumps(CONFIGURATION)}
        self.behaviour: dict[tuple[str, str], Answer | Exception] = {}
        self.runs: list[tuple[str, str, dict[str, Any]]] = []
        self.environments: list[Mapping[str, str]] = []
        self.given: dict[str, str] = {}
        """What is given away, by attachment: addresses."""

    def find(self, plugin: str, path: Sequence[str]) -> Path:
        if plugin not in self.plugins:
            raise NotFound(f'failed to find plugin "{plugin}" in path [{" ".join(path)}]')
        return Path(path[0]) / plugin

    def read_configuration(self, path: str) -> str:
        try:
            return self.files[path]
        except KeyError:
            raise InvalidRequest(f"the CNI configuration {path} cannot be read: No such file") from None

    def has_netns(self, path: str) -> bool:
        return path in self.kernel.namespaces

    async def run(
        self,
        plugin: str,
        path: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
        *,
        attachment: str,
        timeout_s: float,
    ) -> Answer:
        self.find(plugin, path)
        body = json.loads(stdin)
        command = environment["CNI_COMMAND"]
        self.runs.append((plugin, command, body))
        self.environments.append(environment)
        instead = self.behaviour.get((plugin, command))
        if isinstance(instead, Exception):
            raise instead
        if instead is not None:
            return instead
        if plugin == "bridge" and command == "ADD":
            return Answer(0, json.dumps(await self._add(environment, body, attachment)), "")
        if plugin == "bridge" and command == "DEL":
            self.given.pop(attachment, None)
            await self.kernel.remove([DeleteLink(_host_end(attachment))])
        return Answer(0, json.dumps(body["prevResult"]) if command == "ADD" else "", "")

    async def _add(
        self, environment: Mapping[str, str], body: Mapping[str, Any], attachment: str
    ) -> dict[str, Any]:
        netns, interface = environment["CNI_NETNS"], environment["CNI_IFNAME"]
        subnet = ip_network(body["ipam"]["subnet"])
        hosts = [f"{item}/{subnet.prefixlen}" for item in subnet.hosts()]
        address = next(item for item in hosts[1:] if item not in self.given.values())
        self.given[attachment] = address
        await self.kernel.apply(
            [
                CreateVeth(_host_end(attachment), "", 1500, "", interface, netns, "02:00:00:00:00:77"),
                AddAddress(interface, address, netns),
                SetLink(interface, netns, up=True),
            ]
        )
        return {
            "cniVersion": body["cniVersion"],
            "interfaces": [
                {"name": _host_end(attachment)},
                {"name": interface, "mac": "02:00:00:00:00:77", "sandbox": netns},
            ],
            "ips": [{"address": address, "gateway": hosts[0].partition("/")[0], "interface": 1}],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {"nameservers": ["192.0.2.77"]},
        }


def _host_end(attachment: str) -> str:
    return f"cni{attachment[:8]}"


class FakePlugins:
    """Implements `Plugins` with `FakePlugin`s, by name. A plugin that hangs is unavailable at once."""

    def __init__(self, kernel: FakeKernel, plugins: Mapping[str, FakePlugin] | None = None) -> None:
        self.kernel = kernel
        self.plugins = dict(plugins or {"tp": FakePlugin(kernel=False)})

    def knows(self, name: str) -> bool:
        return name in self.plugins

    async def activate(self, name: str) -> frozenset[str]:
        return frozenset((await self.call(name, "Plugin.Activate", {}))["Implements"])

    async def call(
        self, name: str, method: str, request: Mapping[str, Any], *, patience_s: float | None = None
    ) -> dict[str, Any]:
        plugin = self.plugins.get(name)
        if plugin is None:
            raise NotFound(f"could not find plugin {name} in v1 plugin registry: plugin not found")
        if plugin.behaviour.get(method, {}).get("Hang"):
            raise Unavailable(f'plugin "{name}" did not answer {method} within 30 s')
        link = plugin.endpoints.get(request.get("EndpointID", ""))
        status, body = await plugin.handle(method, json.loads(json.dumps(request)))
        answer = read_answer(name, method, status, json.dumps(body).encode())
        if method == "NetworkDriver.CreateEndpoint":
            self.kernel.add_link(plugin.endpoints[request["EndpointID"]].peer, "veth")
        elif method == "NetworkDriver.DeleteEndpoint" and link is not None:
            await self.kernel.remove([DeleteLink(link.peer)])
        return answer
