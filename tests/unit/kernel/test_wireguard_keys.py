"""The node's WireGuard key: made once, for root alone, and put in place whole."""

import asyncio
import base64
import shutil
import stat
from pathlib import Path

import pytest

from carrick.host.wireguard import Wireguard
from carrick.model.errors import Unsupported
from carrick.testing.fake_kernel import FakeKernel


def _wireguard(directory: Path, kernel: FakeKernel | None = None) -> Wireguard:
    return Wireguard(
        name="wg-test",
        alias="test:wireguard",
        directory=directory / "state",
        log=directory / "log",
        kernel=kernel or FakeKernel(),
    )


def test_a_key_stays_until_it_is_rotated(tmp_path: Path) -> None:
    one = _wireguard(tmp_path)
    assert one.key_age_s() == 0
    public = one.public_key()
    assert len(base64.b64decode(public)) == 32
    assert stat.S_IMODE(one.key_file.stat().st_mode) == 0o600
    assert _wireguard(tmp_path).public_key() == public
    # A rotation that was cut leaves the old one in force.
    one.key_file.with_suffix(".new").write_text("half")
    assert one.public_key() == public
    assert (rotated := one.rotate()) == one.public_key() != public
    # Until the new one is published, the old one can come back.
    one.restore()
    assert one.public_key() == public
    assert one.rotate() not in (public, rotated)
    one.settle()
    one.restore()
    assert one.public_key() != public
    assert [path.name for path in one.key_file.parent.iterdir()] == ["wireguard.key"]
    assert 0 <= one.key_age_s() < 600


def test_without_module_and_program_the_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    one = _wireguard(tmp_path, FakeKernel(lacks=("wireguard",)))
    assert asyncio.run(one.view()) is None
    with pytest.raises(Unsupported) as caught:
        asyncio.run(one.ensure())
    assert "wireguard-go wireguard-tools" in (caught.value.remedy or "")


def test_the_kernels_own_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == "wg" else None)
    kernel = FakeKernel()
    one = _wireguard(tmp_path, kernel)

    async def live() -> None:
        before = await one.view()
        assert before is not None
        assert before.state is None
        await one.ensure()
        await one.ensure()
        after = await one.view()
        assert after is not None
        assert after.state is not None
        assert (after.name, after.public_key) == ("wg-test", one.public_key())
        assert not await one.remove()

    asyncio.run(live())
    assert "wg-test" not in kernel.look().links
