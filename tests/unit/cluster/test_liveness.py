"""Who is away, and who sees to it."""

from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.membership import LifeStatus, Missing, plan_sweep, responsible, status_of
from carrick.model.cluster import NodeId, NodeRecord, NodeState, Sign


def node(name: str, epoch: int = 1, state: NodeState = NodeState.ACTIVE) -> NodeRecord:
    return NodeRecord(NodeId(name), name, epoch, (), state=state)


def sweep(*, alive: str, lost: str = "", timers: str = "", gone: str = "", me: str = "a"):  # type: ignore[no-untyped-def]
    nodes = {NodeId(n): node(n, state=NodeState.GONE if n in gone else NodeState.ACTIVE) for n in "abc"}
    signs = [{NodeId(n): Sign(1) for n in text} for text in (alive, lost, timers)]
    return plan_sweep(NodeId(me), nodes, *signs, help_out=True)


def test_a_sign_of_another_epoch_is_no_sign_of_life() -> None:
    assert status_of(node("a"), {NodeId("a"): Sign(1)}) is LifeStatus.READY
    assert status_of(node("a", 2), {NodeId("a"): Sign(1)}) is LifeStatus.UNREACHABLE
    assert status_of(node("a"), {}) is LifeStatus.UNREACHABLE
    assert status_of(node("a", state=NodeState.GONE), {NodeId("a"): Sign(1)}) is LifeStatus.LEAVING


def test_a_missed_node_is_reported_then_waited_for_then_given_up() -> None:
    assert not sweep(alive="abc")
    assert sweep(alive="ab").report == (Missing(NodeId("c"), 1),)
    assert not sweep(alive="ab", lost="c", timers="c")
    assert sweep(alive="ab", lost="c").evict == (Missing(NodeId("c"), 1),)
    assert sweep(alive="abc", gone="c").evict == (Missing(NodeId("c"), 1),)


def test_nobody_gives_itself_up() -> None:
    assert not sweep(alive="bc", lost="a")


def test_a_report_of_an_earlier_epoch_does_not_count() -> None:
    nodes = {NodeId(n): node(n, epoch=2) for n in "ab"}
    plan = plan_sweep(NodeId("a"), nodes, {NodeId("a"): Sign(2)}, {NodeId("b"): Sign(1)}, {}, help_out=True)
    assert plan.report == (Missing(NodeId("b"), 2),)


@given(st.sets(st.text("abcdef", min_size=1, max_size=5), min_size=1, max_size=50))
def test_a_few_are_responsible_and_most_stay_so_when_one_goes(names: set[str]) -> None:
    ready = [NodeId(name) for name in sorted(names)]
    target = NodeId("target")
    chosen = responsible(target, ready)
    assert len(chosen) == min(3, len(ready))
    assert responsible(target, [*reversed(ready), target]) == chosen
    others = [name for name in ready if name != chosen[0]]
    assert set(chosen[1:]) <= set(responsible(target, others))
