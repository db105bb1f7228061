"""The reference names every option and every chain there is, and the how-to's commands are the driver's."""

from pathlib import Path

import pytest

from carrick.domains.firewall import table
from carrick.domains.sandboxes.interfaces import IFNAME_OPTION, SYSCTLS_OPTION
from carrick.drivers import bridge, macvlan

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "reference/network-options.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "options"),
    [
        ("bridge", bridge.OPTIONS),
        ("macvlan", macvlan.MACVLAN_OPTIONS),
        ("ipvlan", macvlan.IPVLAN_OPTIONS),
        ("Per endpoint", {IFNAME_OPTION, SYSCTLS_OPTION}),
    ],
)
def test_every_option_is_in_the_reference(title: str, options: frozenset[str]) -> None:
    rows = {line.split("`")[1] for line in section(title).splitlines() if line.startswith("| `")}
    assert options <= rows
    unknown = {row for row in rows - options if row not in {"nat", "nat-unprotected", "routed", "isolated"}}
    assert not unknown


def test_every_chain_and_set_is_in_the_reference() -> None:
    page = (DOCS / "reference/firewall.md").read_text()
    for name in [name for name, _ in table._CHAINS] + [name for _, name, _, _ in table._MAPS]:
        assert f"`{name}`" in page, name


def test_the_how_to_names_the_whole_contract() -> None:
    page = (DOCS / "how-to/write-a-driver.md").read_text()
    for method in (
        *("check", "plan_network", "plan_network_removal", "complete_endpoint", "plan_endpoint"),
        *("plan_endpoint_removal", "firewall_rules"),
    ):
        assert f"| `{method}(" in page, method
