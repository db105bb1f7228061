"""`carrick cni`: the plugin and its configuration, written, repeated, refused and removed."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carrick.doors.cli.main import run
from carrick.doors.cni.config import parse_config
from carrick.doors.cni.request import Command
from carrick.doors.cni.wire import CAPABILITIES


@dataclass
class Cli:
    """Runs `carrick cni` on directories of the test's own."""

    base: Path

    def __call__(self, *words: str, host: str = "unix:///run/carrick/carrick.sock") -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        code = run(("cni", *words), stdin=io.StringIO(), out=out, err=err, environ={"CARRICK_HOST": host})
        return code, out.getvalue(), err.getvalue()

    def install(self, *words: str, **more: str) -> tuple[int, str, str]:
        return self("install", "--bin-dir", str(self.bin), "--conf-dir", str(self.conf), *words, **more)

    def uninstall(self, *words: str) -> tuple[int, str, str]:
        return self("uninstall", "--bin-dir", str(self.bin), "--conf-dir", str(self.conf), *words)

    @property
    def bin(self) -> Path:
        return self.base / "opt" / "cni" / "bin"

    @property
    def conf(self) -> Path:
        return self.base / "etc" / "cni" / "net.d"

    @property
    def plugin(self) -> Path:
        return self.bin / "carrick"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def configuration(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a list and its only plugin, which Carrick's own plugin must be able to read."""
    found = json.loads(text)
    (plugin,) = found["plugins"]
    told = {key: value for key, value in plugin.items() if key != "capabilities"}
    told |= {"cniVersion": found["cniVersion"], "name": found["name"]}
    parse_config(json.dumps(told).encode(), Command.ADD)
    return found, plugin


def test_install_may_be_repeated(cli: Cli) -> None:
    code, out, err = cli.install("--network", "shop")
    path = cli.conf / "10-shop.conflist"
    assert (code, out, err) == (0, f"wrote {cli.plugin}\nwrote {path}\n", "")
    assert cli.plugin.stat().st_mode & 0o777 == 0o755
    assert "/run/carrick/cni.sock" in cli.plugin.read_text()
    assert cli.install("--network", "shop") == (0, "all is there already\n", "")
    cli.plugin.chmod(0o600)
    assert cli.install("--network", "shop") == (0, f"replaced {cli.plugin}\n", "")
    assert sorted(item.name for item in cli.bin.iterdir()) == ["carrick"]


@pytest.mark.parametrize("language", ["perl", "python"])
def test_the_socket_is_written_into_the_plugin(cli: Cli, language: str) -> None:
    assert cli.install("--language", language, host="unix:///srv/c/run/carrick.sock")[0] == 0
    text = cli.plugin.read_text()
    assert text.startswith("#!/")
    assert language in text.partition("\n")[0]
    assert "/srv/c/run/cni.sock" in text
    assert "/run/carrick/" not in text
    assert cli.install("--language", language, "--socket", "/elsewhere/x.sock")[0] == 0
    assert "/elsewhere/x.sock" in cli.plugin.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("--socket", "relative"),
        ("--socket", "/quo'te"),
        ("--socket", '/quo"te'),
        ("--socket", "/back\\slash"),
        ("--socket", "/" + "x" * 107),
        ("--language", "cobol"),
        ("--name", "a/b"),
        ("--opt", "no-value"),
    ],
)
def test_what_is_refused(cli: Cli, words: tuple[str, ...]) -> None:
    code, _, err = cli.install(*words)
    assert code == 2
    assert words[0] in err
    assert not cli.plugin.exists()


def test_what_is_somebody_elses_stays(cli: Cli) -> None:
    cli.bin.mkdir(parents=True)
    cli.plugin.write_text("another program")
    code, _, err = cli.install()
    assert (code, "is there already and differs" in err) == (4, True)
    assert cli.uninstall() == (0, "nothing to remove\n", "")
    cli.plugin.unlink()
    cli.conf.mkdir(parents=True)
    mine = cli.conf / "10-carrick.conflist"
    mine.write_text('{"name": "carrick", "edited": true}')
    assert cli.install()[0] == 4
    assert "edited" in mine.read_text()
    assert cli.install("--force")[0] == 0
    assert "edited" not in mine.read_text()


def test_the_plugin_alone(cli: Cli) -> None:
    assert cli.install("--no-config")[0] == 0
    assert not cli.conf.exists()


def test_a_place_that_cannot_be_written(cli: Cli) -> None:
    (cli.base / "opt").write_text("a file")
    code, _, err = cli.install()
    assert (code, "cannot" in err) == (1, True)


def test_configurations(cli: Cli) -> None:
    found, plugin = configuration(cli("config", "--network", "shop")[1])
    assert (found["cniVersion"], found["name"]) == ("1.0.0", "shop")
    assert set(plugin) == {"type", "capabilities"}
    assert set(plugin["capabilities"]) == CAPABILITIES
    found, plugin = configuration(cli("config")[1])
    assert found["name"] == "carrick"
    found, plugin = configuration(
        cli(
            *("config", "--name", "pods", "--network", "shop", "--driver", "overlay", "--internal"),
            *("--subnet", "10.80.0.0/16", "--subnet", "fd00::/64", "-o", "a=b=c", "--cni-version", "1.1.0"),
        )[1]
    )
    assert (found["name"], found["cniVersion"], plugin["network"]) == ("pods", "1.1.0", "shop")
    assert plugin["create"] == {
        "driver": "overlay",
        "subnets": [{"subnet": "10.80.0.0/16"}, {"subnet": "fd00::/64"}],
        "internal": True,
        "options": {"a": "b=c"},
    }


def test_uninstall(cli: Cli) -> None:
    assert cli.uninstall() == (0, "nothing to remove\n", "")
    cli.install("--network", "shop")
    cli.install("--network", "back", "--priority", "20")
    other = cli.conf / "99-loopback.conf"
    other.write_text('{"type": "loopback"}')
    (cli.conf / "broken.conflist").write_text("{")
    code, out, _ = cli.uninstall("--name", "back")
    assert (code, out) == (0, f"removed {cli.conf}/20-back.conflist\n")
    code, out, _ = cli.uninstall()
    assert out == f"removed {cli.conf}/10-shop.conflist\nremoved {cli.plugin}\n"
    assert sorted(item.name for item in cli.conf.iterdir()) == ["99-loopback.conf", "broken.conflist"]
