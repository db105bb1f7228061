"""CNI networks, called as a container runtime calls them: one plugin after another, each a process.

What libcni does around that (finding the configuration, caching the result in a file) is left out for all.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..namespaces import Namespace
from ..programs import run
from .carrick import Carrick

INTERFACE = "eth0"
#: Debian's `containernetworking-plugins`.
REFERENCE = Path("/usr/lib/cni")
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container's interface: `port` is one of the host that leads to `container_port`; 0 for none."""

    container: str
    namespace: Namespace
    port: int = 0
    container_port: int = 80


class CniNetwork:
    """A configuration list, and where its plugins are; they run in `host`."""

    def __init__(self, conflist: Mapping[str, Any], bin_dir: Path, host: Namespace, home: Path) -> None:
        self._conflist = conflist
        self._bin_dir = bin_dir
        self._host = host
        # A runtime hands on what it has; plugins need a PATH to find iptables, and little else.
        self._environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home)}

    def floor(self) -> None:
        """Start the first plugin for nothing but its versions: what every call contains for each plugin."""
        self._exec(self._conflist["plugins"][0], "VERSION", None, None)

    def add(self, attachment: Attachment) -> dict[str, Any]:
        """Attach; return the last plugin's result."""
        result: dict[str, Any] | None = None
        for plugin in self._conflist["plugins"]:
            result = json.loads(self._exec(plugin, "ADD", attachment, result))
        if result is None:
            raise BenchError("a configuration without plugins")
        return result

    def delete(self, attachment: Attachment, result: dict[str, Any]) -> None:
        """Undo an ADD with that result, the last plugin first."""
        for plugin in reversed(self._conflist["plugins"]):
            self._exec(plugin, "DEL", attachment, result)

    def _exec(
        self,
        plugin: Mapping[str, Any],
        command: str,
        attachment: Attachment | None,
        previous: dict[str, Any] | None,
    ) -> str:
        environment = {**self._environment, "CNI_COMMAND": command, "CNI_PATH": str(self._bin_dir)}
        configuration = {key: value for key, value in plugin.items() if key != "capabilities"} | {
            "cniVersion": self._conflist["cniVersion"],
            "name": self._conflist["name"],
        }
        if attachment is not None:
            environment |= {
                "CNI_CONTAINERID": attachment.container,
                "CNI_NETNS": str(attachment.namespace.path),
                "CNI_IFNAME": INTERFACE,
            }
            if arguments := dict(_runtime_config(plugin, attachment)):
                configuration["runtimeConfig"] = arguments
        if previous is not None:
            configuration["prevResult"] = previous
        return run(
            (str(self._bin_dir / plugin["type"]),),
            environment,
            namespace=self._host,
            text=json.dumps(configuration),
            timeout_s=_TIMEOUT_S,
        )


def _runtime_config(plugin: Mapping[str, Any], attachment: Attachment) -> Iterator[tuple[str, Any]]:
    """Yield what a runtime passes to a plugin that says it is able to."""
    if attachment.port and plugin.get("capabilities", {}).get("portMappings"):
        mapping = {
            "hostPort": attachment.port, "containerPort": attachment.container_port, "protocol": "tcp"
        }  # fmt: skip
        yield "portMappings", [mapping]


def reference_chain(host: Namespace, home: Path, subnet: str) -> CniNetwork:
    """Return the reference plugins in the configuration that Podman 4 writes for a network of its own."""
    plugins: Sequence[Mapping[str, Any]] = (
        {
            "type": "bridge", "bridge": "cni-bench0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
            "ipam": {
                "type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": subnet}]]
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall", "backend": ""},
        {"type": "tuning"},
    )  # fmt: skip
    return CniNetwork({"cniVersion": "0.4.0", "name": "bench", "plugins": plugins}, REFERENCE, host, home)


def installed_by_carrick(carrick: Carrick, home: Path, subnet: str) -> CniNetwork:
    """Make a network and have `carrick cni install` write plugin and configuration for it."""
    bin_dir, conf_dir = home / "bin", home / "net.d"
    carrick.command.create_network("bench", subnet)
    carrick.command.call(
        "cni", "install", "--bin-dir", str(bin_dir), "--conf-dir", str(conf_dir), "--network", "bench"
    )
    (written,) = conf_dir.iterdir()
    return CniNetwork(json.loads(written.read_text()), bin_dir, carrick.host.namespace, home)
