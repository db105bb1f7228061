"""The same script of requests goes to Carrick and to a real Docker Engine; the answers are the same.

Or they differ in a way that `accepted.py` and the reference's page on differences both name.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .accepted import ACCEPTED, Accepted
from .client import Client, Exchange
from .compare import Difference, differences
from .conftest import Pair
from .scenarios import SCENARIOS

Scenario = Callable[[Client], None]
_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "docker-differences.md"


@pytest.fixture(scope="session")
def occurred() -> set[Accepted]:
    """The accepted differences that have occurred so far."""
    return set()


@pytest.fixture(scope="session")
def counts() -> dict[str, int]:
    """How many requests each scenario compared."""
    return {}


def _run(scenario: Scenario, socket_path: Path) -> list[Exchange]:
    client = Client(socket_path)
    try:
        scenario(client)
    finally:
        client.reset()
    return client.exchanges


@pytest.mark.parametrize("name", SCENARIOS)
def test_answers_are_the_same(
    name: str, engines: Pair, occurred: set[Accepted], counts: dict[str, int]
) -> None:
    scenario = SCENARIOS[name]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(_run, scenario, path) for path in (engines.docker, engines.carrick)]
        docker, carrick = [future.result() for future in futures]
    unexplained: list[Difference] = []
    for difference in differences(name, docker, carrick):
        explaining = [entry for entry in ACCEPTED if entry.explains(difference)]
        occurred.update(explaining)
        if not explaining:
            unexplained.append(difference)
    counts[name] = len(docker)
    text = "\n".join(str(difference) for difference in unexplained)
    assert not unexplained, f"{len(unexplained)} differences in {len(docker)} requests:\n{text}"


def test_every_accepted_difference_still_occurs(
    engines: Pair, occurred: set[Accepted], counts: dict[str, int]
) -> None:
    if counts.keys() != SCENARIOS.keys():
        pytest.skip("some scenarios were not run")
    assert not [entry.title for entry in ACCEPTED if entry not in occurred and not entry.at_times]


@pytest.mark.parametrize(
    ("docker", "carrick", "accepted"),
    [(2, 1, True), (1, 2, False), (2, 2, False), (0, 1, False), (2, 0, False)],
)
def test_only_docker_may_tell_a_pause_twice(docker: int, carrick: int, accepted: bool) -> None:
    told = [{"status": "pause", "Type": "container", "Action": "pause"}]
    difference = Difference(
        "system.events_of_life", "GET /events of a life", ".container pause", told * docker, told * carrick
    )
    assert any(entry.explains(difference) for entry in ACCEPTED) is accepted


def test_the_script_is_wide(counts: dict[str, int]) -> None:
    if counts.keys() != SCENARIOS.keys():
        pytest.skip("some scenarios were not run")
    assert sum(counts.values()) > 500


def test_the_page_lists_what_is_accepted() -> None:
    rows = [line.split("|") for line in _PAGE.read_text().splitlines() if line.startswith("| ")]
    listed = {(cells[1].strip(), cells[2].strip()) for cells in rows[1:]}
    assert listed == {(entry.title, entry.reason) for entry in ACCEPTED}
