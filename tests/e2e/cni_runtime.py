"""A container runtime, as far as CNI goes: it runs a list's plugins on a daemon's machine, as libcni does."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carrick.testing.daemon import Daemon, Result

REFERENCE = "/usr/lib/cni"


@dataclass(frozen=True)
class Answer:
    """What a plugin gave back: `document` is a result or an error, None if it wrote nothing."""

    code: int
    document: Any

    @property
    def error(self) -> int:
        assert self.code == 1, self
        return int(self.document["code"])


class Runtime:
    """Runs Carrick's plugin as it was installed, and Debian's reference plugins beside it."""

    def __init__(self, daemon: Daemon, *install: str) -> None:
        self.daemon = daemon
        self.bin = daemon.directory / "cni-bin"
        self.conf = daemon.directory / "cni-net.d"
        self.install(*install)

    def install(self, *more: str) -> Result:
        result = self.daemon.cli(
            "cni", "install", "--bin-dir", str(self.bin), "--conf-dir", str(self.conf), "--force", *more
        )
        assert result.code == 0, result
        return result

    @property
    def path(self) -> str:
        return f"{self.bin}:{REFERENCE}"

    def exec(
        self, plugin: str, command: str, data: str, environment: Mapping[str, str], *, cwd_netns: str = ""
    ) -> Answer:
        """Run one plugin."""
        directory = self.bin if plugin == "carrick" else REFERENCE
        result = self.daemon.machine.run(
            f"{directory}/{plugin}",
            input=data,
            netns=cwd_netns,
            environment={"CNI_COMMAND": command, "CNI_PATH": self.path, **environment},
        )
        assert not result.err or plugin != "carrick", result
        return Answer(result.code, json.loads(result.out) if result.out.strip() else None)

    def call(
        self,
        command: str,
        config: Mapping[str, Any],
        container: str,
        *,
        netns: str | None = None,
        interface: str = "eth0",
        **environment: str,
    ) -> Answer:
        """Call Carrick's plugin alone."""
        variables = {
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{container}" if netns is None else netns,
            "CNI_IFNAME": interface,
            **environment,
        }
        return self.exec("carrick", command, json.dumps(config), variables)

    def run_list(
        self,
        command: str,
        plugins: Sequence[Mapping[str, Any]],
        container: str,
        *,
        name: str = "shop",
        version: str = "1.0.0",
        interface: str = "eth0",
        capabilities: Mapping[str, Any] | None = None,
        previous: Any = None,
    ) -> Answer:
        """Run a list of plugins: forwards, for DEL backwards; `previous` is the result of ADD."""
        result = previous
        for plugin in reversed(plugins) if command == "DEL" else plugins:
            claimed = plugin.get("capabilities", {})
            config: dict[str, Any] = {key: value for key, value in plugin.items() if key != "capabilities"}
            config |= {"cniVersion": version, "name": name}
            wanted = {key: value for key, value in (capabilities or {}).items() if claimed.get(key)}
            if wanted:
                config["runtimeConfig"] = wanted
            if result is not None:
                config["prevResult"] = result
            answer = self.exec(
                str(plugin["type"]),
                command,
                json.dumps(config),
                {
                    "CNI_CONTAINERID": container,
                    "CNI_NETNS": f"/run/netns/{container}",
                    "CNI_IFNAME": interface,
                },
            )
            if answer.code:
                return answer
            if command == "ADD":
                result = answer.document
        return Answer(0, result)


def conf(version: str = "1.1.0", **more: Any) -> dict[str, Any]:
    return {"cniVersion": version, "name": "shop", "type": "carrick", **more}
