"""The CNI door with an engine in memory behind it, and IPAM plugins that are functions."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from carrick.doors.cni import CniCalls
from carrick.host.cni import Answer as PluginAnswer
from carrick.model.errors import NotFound
from carrick.testing.fake_engine import FakeEngine

Plugin = Callable[[str, dict[str, Any]], PluginAnswer]
NETNS = "/run/netns/one"


class FakePlugins:
    """Implements `CniRunner`: `plugins` by name; `calls` are (plugin, command, container)."""

    def __init__(self) -> None:
        self.plugins: dict[str, Plugin] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.environments: list[Mapping[str, str]] = []
        self.missing: set[str] = set()

    def find(self, plugin: str, path: Sequence[str]) -> Path:
        if plugin not in self.plugins:
            raise NotFound(f'failed to find plugin "{plugin}" in path [{" ".join(path)}]')
        return Path(path[0]) / plugin

    def read_configuration(self, path: str) -> str:
        raise NotImplementedError

    def has_netns(self, path: str) -> bool:
        return path not in self.missing

    async def run(
        self,
        plugin: str,
        path: Sequence[str],
        environment: Mapping[str, str],
        stdin: bytes,
        *,
        attachment: str,
        timeout_s: float,
    ) -> PluginAnswer:
        self.find(plugin, path)
        self.calls.append((plugin, environment["CNI_COMMAND"], environment.get("CNI_CONTAINERID", "")))
        self.environments.append(environment)
        return self.plugins[plugin](environment["CNI_COMMAND"], json.loads(stdin))


class Door:
    """The door with what is behind it, and a way to call it."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.plugins = FakePlugins()
        self.own_namespace = "/proc/1/ns/net"
        self.calls = CniCalls(
            self.engine, self.plugins, timeout_s=5.0, is_own=lambda path: path == self.own_namespace
        )

    async def call(
        self,
        command: str,
        config: Any = None,
        *,
        container: str = "one",
        netns: str = NETNS,
        interface: str = "eth0",
        args: str = "",
        drop: tuple[str, ...] = (),
        **more: str,
    ) -> tuple[int, Any]:
        """Call; return the exit code and the document that was written (None if there was none)."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": interface,
            "CNI_PATH": "/plugins",
            **({"CNI_ARGS": args} if args else {}),
            **more,
        }
        for name in drop:
            del environment[name]
        data = (
            config if isinstance(config, bytes) else json.dumps(conf() if config is None else config).encode()
        )
        answer = await self.calls.answer(environment, data)
        return answer.exit_code, json.loads(answer.output) if answer.output else None

    async def code(self, command: str, config: Any = None, **more: Any) -> int:
        """Return the code of a call that must fail."""
        exit_code, document = await self.call(command, config, **more)
        assert exit_code == 1, document
        assert set(document) == {"cniVersion", "code", "msg", "details"}
        assert document["msg"]
        return int(document["code"])

    async def add(self, config: Any = None, **more: Any) -> Any:
        exit_code, document = await self.call("ADD", config, **more)
        assert exit_code == 0, document
        return document


def conf(version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    return {"cniVersion": version, "name": "shop", "type": "carrick", **more}
