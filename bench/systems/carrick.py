"""Carrick: `carrickd`, which starts `carrick-dns` and `carrick-ports` itself."""

import sys
from pathlib import Path

from ..namespaces import Host
from ..processes import Process
from ..programs import Background, clean_environment
from .command_line import CommandLine
from .contract import Part
from .daemons import EngineSystem

_REPOSITORY = Path(__file__).resolve().parents[2]
#: By the words of the command line: as modules, or as the installed programs.
_PARTS = {
    "carrick.daemon": Part.CONTROL,
    "carrickd": Part.CONTROL,
    "carrick.dns_process": Part.CONTROL,
    "carrick-dns": Part.CONTROL,
    "carrick.ports_process": Part.PORTS,
    "carrick-ports": Part.PORTS,
}


class Carrick(EngineSystem):
    """The tree that this benchmark stands in, run by the interpreter that runs the benchmark."""

    name = "carrick"

    def __init__(self, host: Host, directory: Path, run_dir: Path = Path("/run/carrick-bench")) -> None:
        self._run = run_dir
        super().__init__(host, directory, self._run / "carrick.sock")
        home = directory / "home"
        home.mkdir()
        # An installed package has its bytecode; a working tree may not, and must not get it from us.
        self._environment = clean_environment(
            home, {"PYTHONPATH": str(_REPOSITORY), "PYTHONPYCACHEPREFIX": str(directory / "bytecode")}
        )
        script = Path(sys.executable).with_name("carrick")
        prefix = (str(script),) if script.exists() else (sys.executable, "-m", "carrick")
        self._command = CommandLine((*prefix, "-H", f"unix://{self._run}/carrick.sock"), self._environment)

    @property
    def command(self) -> CommandLine:
        return self._command

    def start_daemon(self) -> Background:
        configuration = self.directory / "carrickd.toml"
        configuration.write_text(f'cgroup_parent = "/{self.directory.parent.name}/carrick"\n')
        command = (
            sys.executable, "-m", "carrick.daemon", "--config", str(configuration), "--log-level", "warning",
            "--state-dir", str(self.directory / "state"), "--run-dir", str(self._run),
        )  # fmt: skip
        return Background(command, self.directory / "carrickd.log", self._environment, self.host.namespace)

    def part_of(self, process: Process) -> Part | None:
        if process.program == "conmon":
            return Part.CONTAINER
        words = {Path(word).name for word in process.command[:4]}
        return next((part for word, part in _PARTS.items() if word in words), None)
