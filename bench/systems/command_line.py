"""An engine's own command as a door. Docker's, Podman's and Carrick's take the same words here."""

from collections.abc import Mapping, Sequence

from ..materials import IMAGE
from ..namespaces import Namespace
from ..programs import run
from .contract import COMMAND, ContainerSpec


class CommandLine:
    """A door: `prefix` is the command with its global options.

    `run_options` are added to every `run` and `remove_options` to every `rm -f`: Podman needs some
    to do what the others do anyway.
    """

    name = "cli"

    def __init__(
        self,
        prefix: Sequence[str],
        environment: Mapping[str, str],
        namespace: Namespace | None = None,
        *,
        floor: Sequence[str] = ("version",),
        run_options: Sequence[str] = (),
        remove_options: Sequence[str] = (),
    ) -> None:
        self._prefix = tuple(prefix)
        self._environment = environment
        self._namespace = namespace
        self._floor = tuple(floor)
        self._run_options = tuple(run_options)
        self._remove_options = tuple(remove_options)

    def call(self, *words: str) -> str:
        """Run the command with these words and return what it printed."""
        return run((*self._prefix, *words), self._environment, namespace=self._namespace)

    def floor(self) -> None:
        self.call(*self._floor)

    def create_network(self, name: str, subnet: str = "") -> None:
        options = ("--subnet", subnet) if subnet else ()
        self.call("network", "create", *options, name)

    def remove_network(self, name: str) -> None:
        self.call("network", "rm", name)

    def connect(self, network: str, container: str) -> None:
        self.call("network", "connect", network, container)

    def disconnect(self, network: str, container: str) -> None:
        self.call("network", "disconnect", network, container)

    def run(self, spec: ContainerSpec) -> None:
        options = ["--name", spec.name, *self._run_options]
        if spec.network:
            options += ["--network", spec.network]
        for port in spec.ports:
            options += ["-p", f"{port.host}:{port.container}"]
        for alias in spec.aliases:
            options += ["--network-alias", alias]
        self.call("run", "-d", *options, IMAGE, *COMMAND)

    def remove(self, container: str) -> None:
        self.call("rm", "-f", *self._remove_options, container)
