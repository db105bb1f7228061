"""flannel's hooks: which command runs when and with what, and how commands are run."""

import asyncio
from pathlib import Path

import pytest

from carrick.domains.flannel.hooks import (
    OPTIONS,
    Hooks,
    Subnet,
    hooks_of,
    plan_after,
    plan_before,
    plan_following,
    plan_shutdown,
)
from carrick.drivers.transports.choose import parse_choice
from carrick.host.hooks import run_hook
from carrick.model.errors import InvalidRequest
from carrick.model.ids import NetworkId
from carrick.model.networks import Network

HOOKS = Hooks("before", "after", "added", "removed", "shutdown")
ONE = Subnet("10.5.1.0/24", "192.0.2.1", "2001:db8::1", "key one")
TWO = Subnet("fd05:0:0:2::/64", "192.0.2.2", "2001:db8::2", "key two")


def _network(**options: str) -> Network:
    return Network(NetworkId("a" * 64), "apps", "routed", 0, options=options)


def test_commands_are_options_of_the_network() -> None:
    network = _network(**{OPTIONS["added"]: "ip route add $SUBNET", "backend": "extension"})
    assert hooks_of(network) == Hooks(added="ip route add $SUBNET")
    assert parse_choice(network).backend.name == "extension"
    assert not hooks_of(_network())


def test_hooks_and_other_backends_exclude_each_other() -> None:
    with pytest.raises(InvalidRequest, match="backend=extension"):
        parse_choice(_network(**{OPTIONS["added"]: "true"}))
    with pytest.raises(InvalidRequest, match="exclude"):
        parse_choice(_network(**{"backend": "extension", "cross-subnet": "true"}))


def test_what_the_commands_are_told() -> None:
    before, after = plan_before(HOOKS), plan_after(HOOKS, "10.5.0.0/16", ONE)
    assert before is not None
    assert (before.name, before.command, before.environment) == ("PreStartupCommand", "before", {})
    assert after is not None
    assert after.environment == {
        "NETWORK": "10.5.0.0/16",
        "SUBNET": "10.5.1.0/24",
        "PUBLIC_IP": "192.0.2.1",
        "PUBLIC_IPV6": "2001:db8::1",
    }
    (run,) = plan_following(HOOKS, {"two": TWO}, {}).runs
    assert run.name == "SubnetAddCommand"
    assert run.environment["IPV6SUBNET"] == "fd05:0:0:2::/64"
    assert "SUBNET" not in run.environment
    assert run.stdin == "key two\n"


def test_nodes_that_come_change_and_go() -> None:
    came = plan_following(HOOKS, {"one": ONE, "two": TWO}, {})
    assert [run.command for run in came.runs] == ["added", "added"]
    assert plan_following(HOOKS, came.known, came.known).runs == ()
    other = Subnet(ONE.prefix, "192.0.2.9", data=ONE.data)
    changed = plan_following(HOOKS, {"one": other}, came.known)
    assert [run.command for run in changed.runs] == ["removed", "added"]
    # It is told with what was known of it.
    assert changed.runs[0].stdin == "key two\n"
    assert changed.known == {"one": other}


def test_no_command_no_run() -> None:
    none = Hooks()
    assert plan_before(none) is None
    assert plan_after(none, "10.5.0.0/16", ONE) is None
    assert plan_shutdown(none) is None
    assert plan_following(none, {"one": ONE}, {"two": TWO}).runs == ()


def _run(
    command: str, stdin: str = "\n", timeout_s: float = 30.0, **environment: str
) -> tuple[int, str, bool]:
    outcome = asyncio.run(run_hook(command, environment=environment, stdin=stdin, timeout_s=timeout_s))
    return outcome.code, outcome.output, outcome.timed_out


def test_a_command_gets_its_environment_and_input_and_says_both_streams() -> None:
    found = _run('read data; echo "$SUBNET $data"; echo oh >&2; exit 3', "key\n", SUBNET="10.5.1.0/24")
    assert found == (3, "10.5.1.0/24 key\noh", False)
    assert _run("true") == (0, "", False)


def test_a_hung_command_ends_with_all_that_it_started(tmp_path: Path) -> None:
    found = _run(f"sh -c 'sleep 300; touch {tmp_path}/late' & echo $!; wait", timeout_s=0.5)
    assert found[2]
    assert found[0] == -9
    assert (
        not Path(f"/proc/{found[1]}/cmdline").exists() or not Path(f"/proc/{found[1]}/cmdline").read_bytes()
    )


def test_what_runs_on_in_the_background_keeps_nobody_waiting() -> None:
    code, output, timed_out = _run("sleep 5 & echo $!")
    assert (code, timed_out) == (0, False)
    asyncio.run(run_hook(f"kill {output}", environment={}, stdin="", timeout_s=30))


def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    async def cancel() -> None:
        begun = tmp_path / "begun"
        task = asyncio.create_task(
            run_hook(f"echo $$ >{begun}; exec sleep 300", environment={}, stdin="", timeout_s=300)
        )
        for _ in range(3000):
            if begun.exists() and begun.read_text().strip():
                break
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stat = Path(f"/proc/{begun.read_text().strip()}/stat")
        for _ in range(3000):
            try:
                if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it goes on")

    asyncio.run(cancel())
