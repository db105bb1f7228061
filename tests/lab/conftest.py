"""Several hosts on one machine, and faults between them. Needs root.

`lab` is one for a module, with everything mended before each test.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from carrick.testing.boxes import leftovers, settle_nodes
from carrick.testing.daemon import eventually
from carrick.testing.lab import TempLab

_TIMEOUT_S = 240
GONE_AFTER_S = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="makes namespaces and runs containers: needs root"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_TIMEOUT_S))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the hosts have logged during a test that failed."""
    report = yield
    lab, begun = getattr(item, "lab_and_logs", (None, {}))
    if report.when == "call" and report.failed:
        for host in (*lab.hosts, lab.etcd) if lab else ():
            report.sections.append((f"log of {host.name}", host.log_text()[begun[host.name] :][-8000:]))
    return report


@pytest.fixture(scope="module")
def standing_lab() -> Iterator[TempLab]:
    """Three hosts in two segments, and an etcd."""
    with TempLab(hosts=3, segments=2) as lab:
        yield lab


@pytest.fixture(scope="module")
def standing_cluster() -> Iterator[TempLab]:
    """As `standing_lab`, one cluster; who is missed for 5 s more than a sign of life lasts is given up."""
    with TempLab(hosts=3, segments=2, cluster=True, gone_after_s=GONE_AFTER_S) as lab:
        yield lab


@pytest.fixture
def cluster(standing_cluster: TempLab, request: pytest.FixtureRequest) -> Iterator[TempLab]:
    """The module's cluster, mended and emptied after the test; nothing may be left of its containers."""
    logging = [*standing_cluster.hosts, standing_cluster.etcd]
    lengths = {host.name: len(host.log_text()) for host in logging}
    request.node.lab_and_logs = (standing_cluster, lengths)
    yield standing_cluster
    standing_cluster.mend()
    standing_cluster.join()
    settle_nodes(standing_cluster)
    standing_cluster.remove_all()
    try:
        eventually(lambda: not leftovers(standing_cluster), 15)
    except AssertionError:
        pytest.fail("left behind: " + "\n".join(leftovers(standing_cluster)), pytrace=False)


@pytest.fixture
def lab(standing_lab: TempLab) -> Iterator[TempLab]:
    """The module's lab, mended and emptied after the test."""
    yield standing_lab
    standing_lab.mend()
    standing_lab.remove_all()
