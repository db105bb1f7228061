"""The interval set against a plain set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from carrick.domains.ipam.intervals import IntervalSet

numbers = st.integers(0, 40)
operations = st.lists(st.tuples(st.sampled_from(["add", "remove", "range"]), numbers, numbers), max_size=60)


@given(numbers, numbers, operations)
def test_it_behaves_as_a_set(first: int, last: int, changes: list[tuple[str, int, int]]) -> None:
    intervals = IntervalSet(first, last)
    plain = set(range(first, last + 1))
    for kind, one, other in changes:
        if kind == "add":
            intervals.add(one)
            plain.add(one)
        elif kind == "remove":
            intervals.remove(one)
            plain.discard(one)
        else:
            intervals.remove(one, other)
            plain -= set(range(one, other + 1))
        members = {number for low, high in intervals for number in range(low, high + 1)}
        assert members == plain
        assert intervals.count == len(plain)
        assert bool(intervals) == bool(plain)
        pairs = list(intervals)
        assert all(low <= high for low, high in pairs)
        assert all(a[1] + 1 < b[0] for a, b in pairwise(pairs)), "not merged"
        for number in (one, other):
            assert (number in intervals) == (number in plain)
            assert intervals.at_or_after(number) == min((n for n in plain if n >= number), default=None)


def test_a_copy_is_independent() -> None:
    original = IntervalSet(1, 10)
    copy = original.copy()
    copy.remove(5)
    assert 5 in original
    assert original.count == 10


def test_a_huge_set_is_one_interval() -> None:
    intervals = IntervalSet(1, 2**64)
    intervals.remove(7)
    assert intervals.count == 2**64 - 1
    assert intervals
    assert list(intervals) == [(1, 6), (8, 2**64)]
