"""Packets within one bridge are taken past the host's IP rules, where nobody needs them there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrick.domains.firewall.bridged import BRIDGE_SYSCTLS
from carrick.engine.engine import CarrickEngine
from carrick.engine.values import Finding
from carrick.model.steps import SetSysctl
from carrick.testing.fake_machine import FakeMachine

FOREIGN: dict[str, Any] = {"rule": {"family": "ip", "table": "filter", "chain": "DOCKER", "expr": []}}


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A machine whose kernel has br_netfilter."""
    machine = FakeMachine(tmp_path)
    for key in BRIDGE_SYSCTLS:
        machine.kernel.add_sysctl(key, "1")
    return machine


def values(machine: FakeMachine) -> list[str | None]:
    return [machine.kernel.sysctl(key) for key in BRIDGE_SYSCTLS]


async def finding(engine: CarrickEngine) -> Finding:
    (found,) = [item for item in await engine.system.doctor() if item.subject == "bridged packets"]
    return found


async def test_switched_off_where_nobody_needs_it(machine: FakeMachine) -> None:
    async with machine.start() as engine:
        assert values(machine) == ["0", "0"]
        assert (await finding(engine)).level == "ok"


async def test_rules_of_others_keep_it(machine: FakeMachine) -> None:
    machine.kernel.rulesets["ip filter"] = [FOREIGN]
    async with machine.start() as engine:
        assert values(machine) == ["1", "1"]
        found = await finding(engine)
        assert found.level == "ok" and "rules of others in table ip filter" in found.problem


async def test_a_file_of_the_administrator_keeps_it(machine: FakeMachine) -> None:
    machine.kernel.sysctl_files["/etc/sysctl.d/k8s.conf"] = {BRIDGE_SYSCTLS[0]: "1"}
    async with machine.start() as engine:
        assert values(machine) == ["1", "1"]
        assert "/etc/sysctl.d/k8s.conf" in (await finding(engine)).problem


async def test_legacy_rules_keep_it(machine: FakeMachine) -> None:
    machine.kernel.legacy_tables = ["nat"]
    async with machine.start():
        assert values(machine) == ["1", "1"]


@pytest.mark.parametrize(("setting", "left"), [("keep", "1"), ("off", "0")])
async def test_the_setting_has_the_last_word(machine: FakeMachine, setting: Any, left: str) -> None:
    machine.config = replace(machine.config, bridge_filter=setting)
    machine.kernel.rulesets["ip filter"] = [FOREIGN] if setting == "off" else []
    async with machine.start() as engine:
        assert values(machine) == [left, left]
        assert (await finding(engine)).level == "ok"


async def test_who_switches_it_on_later_is_not_overruled_until_asked(machine: FakeMachine) -> None:
    async with machine.start() as engine:
        await machine.kernel.apply([SetSysctl(BRIDGE_SYSCTLS[0], "1")])
        await engine.reconciler.converge()
        assert values(machine) == ["1", "0"]
        found = await finding(engine)
        assert found.level == "warning" and f"sysctl -w {BRIDGE_SYSCTLS[0]}=0 " in found.remedy
        await engine.system.fix()
        assert values(machine) == ["0", "0"]


async def test_a_kernel_without_the_module(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    async with machine.start() as engine:
        assert (await finding(engine)).problem == "they pass no IP rules"
    assert not [
        step for step in machine.kernel.applied if isinstance(step, SetSysctl) and "bridge" in step.key
    ]


async def test_a_host_that_does_not_allow_it_goes_on(
    machine: FakeMachine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.kernel.fail_at(lambda step: isinstance(step, SetSysctl) and step.key in BRIDGE_SYSCTLS)
    async with machine.start() as engine:
        assert values(machine) == ["1", "1"]
        assert (await finding(engine)).level == "warning"
    assert "bridged packets go on passing the IP rules" in caplog.text
