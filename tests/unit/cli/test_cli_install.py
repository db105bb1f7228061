"""`carrick system install`: what it says, asks and does, on directories of the test's own."""

import io
import os
from pathlib import Path

import pytest

from carrick.doors.cli import system_install
from carrick.doors.cli.app import App
from carrick.doors.cli.errors import CliError
from carrick.doors.cli.system_install import Places, install, uninstall


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("carrickd", "carrick-dns", "carrick-ports"):
        (programs / name).touch()
    monkeypatch.setattr(system_install.sys, "executable", str(programs / "python"))
    monkeypatch.setattr(system_install.os, "geteuid", lambda: 0)
    return Places(tmp_path / "units", tmp_path / "etc" / "carrickd.toml", tmp_path / "no-systemd")


class Terminal:
    """An App whose standard input is a terminal, at which `typed` has been typed."""

    def __init__(self, typed: str) -> None:
        master, self._descriptor = os.openpty()
        os.write(master, typed.encode())
        self._master = master
        self.stdin = os.fdopen(os.dup(self._descriptor), "r")
        self.out = io.StringIO()
        self.app = App(stdin=self.stdin, out=self.out, err=io.StringIO(), environ={})

    def close(self) -> None:
        self.stdin.close()
        os.close(self._descriptor)
        os.close(self._master)


def plain_app() -> tuple[App, io.StringIO]:
    out = io.StringIO()
    return App(stdin=io.StringIO(), out=out, err=io.StringIO(), environ={}), out


def test_it_says_and_asks_first(places: Places) -> None:
    terminal = Terminal("n\ny\n")
    try:
        with pytest.raises(CliError):
            install(terminal.app, places=places)
        assert not places.unit_directory.exists() and not places.config_file.exists()
        asked = terminal.out.getvalue()
        assert asked.startswith(f"This will:\n  - write {places.unit_directory}/carrick-dns.service\n")
        assert f"  - write {places.config_file}, all comments\n" in asked
        assert asked.endswith("Continue? [y/N] ")
        assert install(terminal.app, places=places) == 0
    finally:
        terminal.close()
    assert f"wrote {places.unit_directory}/carrickd.service\n" in terminal.out.getvalue()
    assert "ExecStart=" in (places.unit_directory / "carrickd.service").read_text()
    assert places.config_file.exists()


def test_without_a_terminal_it_wants_yes(places: Places) -> None:
    app, _ = plain_app()
    with pytest.raises(CliError, match="add --yes") as caught:
        install(app, places=places)
    assert caught.value.code == 2 and not places.unit_directory.exists()
    assert install(app, yes=True, places=places) == 0
    assert len(list(places.unit_directory.iterdir())) == 3


def test_it_may_be_repeated(places: Places) -> None:
    app, out = plain_app()
    install(app, yes=True, places=places)
    places.config_file.write_text("mine")
    (places.unit_directory / "carrickd.service").write_text("old")
    out.truncate(0)
    out.seek(0)
    install(app, yes=True, places=places)
    assert out.getvalue().splitlines() == [
        f"wrote {places.unit_directory}/carrickd.service",
        "systemd does not run here: start carrickd by hand, or reboot into systemd",
    ]
    assert places.config_file.read_text() == "mine"
    terminal = Terminal("")
    try:
        install(terminal.app, places=places)  # nothing to do: nothing to ask
        assert terminal.out.getvalue().startswith("systemd does not run here")
    finally:
        terminal.close()


def test_uninstall_takes_out_the_units_alone(places: Places) -> None:
    app, out = plain_app()
    install(app, yes=True, places=places)
    uninstall(app, places=places)
    assert list(places.unit_directory.iterdir()) == [] and places.config_file.exists()
    assert f"removed {places.unit_directory}/carrickd.service\n" in out.getvalue()


def test_a_dry_run_changes_nothing(places: Places) -> None:
    app, out = plain_app()
    assert install(app, dry_run=True, places=places) == 0
    assert out.getvalue().startswith(f"# {places.unit_directory}/carrick-dns.service\n[Unit]\n")
    uninstall(app, dry_run=True, places=places)
    assert not places.unit_directory.exists()


def test_it_is_for_root(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_install.os, "geteuid", lambda: 1000)
    app, _ = plain_app()
    with pytest.raises(CliError, match="run this as root") as caught:
        install(app, yes=True, places=places)
    assert caught.value.code == 6
