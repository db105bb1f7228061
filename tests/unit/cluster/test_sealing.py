"""A node's WireGuard key: when it is due, in which order it changes, and who keeps the old one."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from carrick.engine.cluster.sealing import SealService
from carrick.engine.tasks import TaskOwner
from carrick.host.config import load_config
from carrick.model.errors import InvalidRequest, Unavailable, Unsupported
from carrick.model.observed import WireguardDevice
from carrick.testing.fake_machine import FakeMachine


class FakeSeal:
    """A seal whose key is a number."""

    name = "wg-test"

    def __init__(self) -> None:
        self.key, self.old, self.age_s = 1, 0, 0.0

    async def is_possible(self) -> bool:
        return True

    async def ensure(self) -> None: ...

    async def view(self) -> WireguardDevice | None:
        return WireguardDevice(self.name, "key", f"key {self.key}", 51820)

    async def keep(self, on_restart: Callable[[], Awaitable[object]]) -> None: ...

    async def remove(self) -> list[Exception]:
        return []

    def key_age_s(self) -> float:
        return self.age_s

    def rotate(self) -> str:
        self.key, self.old = self.key + 1, self.key
        return f"key {self.key}"

    def restore(self) -> None:
        self.key, self.old = self.old, 0

    def settle(self) -> None:
        self.old = 0


async def test_a_new_key_is_in_the_device_before_anybody_hears_of_it() -> None:
    fake, done = FakeSeal(), []
    seal = SealService(lambda: fake, TaskOwner())
    await seal.open()

    async def take() -> None:
        assert seal.device is not None
        done.append(f"take {seal.device.public_key}")

    async def publish(key: str) -> None:
        done.append(f"publish {key}")

    assert await seal.rotate(take, publish) == "key 2"
    assert done == ["take key 2", "publish key 2"]
    assert fake.old == 0

    async def fail(key: str) -> None:
        raise Unavailable("nobody hears")

    with pytest.raises(Unavailable, match="nobody hears"):
        await seal.rotate(take, fail)
    assert done[2:] == ["take key 3", "take key 2"]
    assert seal.device is not None and seal.device.public_key == "key 2"


async def test_keys_get_old_each_in_its_own_time() -> None:
    fake = FakeSeal()
    seal = SealService(lambda: fake, TaskOwner(), key_lasts_s=100)
    assert not seal.is_due
    with pytest.raises(Unsupported, match="no WireGuard key"):
        await seal.rotate(seal.look, lambda key: seal.look())
    await seal.open()
    shares = set()
    for number in range(50):
        fake.key = number
        await seal.look()
        fake.age_s = next(age for age in range(1000) if _is_due_at(seal, fake, age))
        shares.add(fake.age_s)
    assert min(shares) >= 90 and max(shares) <= 111 and len(shares) > 10
    never = SealService(lambda: fake, TaskOwner(), key_lasts_s=0)
    await never.open()
    fake.age_s = 1e9
    assert not never.is_due


def _is_due_at(seal: SealService, fake: FakeSeal, age_s: float) -> bool:
    fake.age_s = age_s
    return seal.is_due


@pytest.mark.parametrize(
    ("text", "days"), [("", 30), ("key-lasts-days = 0.5", 0.5), ("key_lasts_days = 0", 0)]
)
async def test_how_long_a_key_lasts_is_configured(tmp_path: Path, text: str, days: float) -> None:
    file = tmp_path / "carrickd.toml"
    file.write_text(text)
    machine = FakeMachine(tmp_path)
    machine.config = replace(machine.config, key_lasts_days=load_config(file, {}).key_lasts_days)
    async with machine.start() as engine:
        assert engine.link.seal.key_lasts_s == days * 86400


@pytest.mark.parametrize("value", ["-1", '"long"', "true"])
def test_what_is_no_time_is_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "carrickd.toml"
    file.write_text(f"key_lasts_days = {value}")
    with pytest.raises(InvalidRequest, match="key_lasts_days"):
        load_config(file, {})
