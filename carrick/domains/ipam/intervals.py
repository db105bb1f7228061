"""A set of whole numbers as sorted, disjoint intervals: a /64 costs what its gaps cost. Pure."""

from bisect import bisect_right
from collections.abc import Iterator


class IntervalSet:
    """Numbers, with the intervals' first and last ones in two parallel lists.

    Finding is a binary search; adding and removing also move list tails, in the order of how
    scattered the set is, never of how many numbers it holds. `steps` counts the searches, for tests.
    """

    def __init__(self, first: int, last: int) -> None:
        """Begin with every number from `first` to `last`; with none if `last` is smaller."""
        self._firsts = [first] if first <= last else []
        self._lasts = [last] if first <= last else []
        self._count = max(0, last - first + 1)
        self.steps = 0

    @property
    def count(self) -> int:
        """How many numbers there are: no `__len__`, whose limit a /64 passes."""
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __contains__(self, number: int) -> bool:
        at = self._at(number)
        return at >= 0 and number <= self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield each interval as (first, last)."""
        return iter(zip(self._firsts, self._lasts, strict=True))

    def copy(self) -> "IntervalSet":
        other = IntervalSet(1, 0)
        other._firsts, other._lasts, other._count = self._firsts[:], self._lasts[:], self._count
        return other

    def at_or_after(self, number: int) -> int | None:
        """Return the smallest member that is not smaller than `number`."""
        at = self._at(number)
        if at >= 0 and number <= self._lasts[at]:
            return number
        return self._firsts[at + 1] if at + 1 < len(self._firsts) else None

    def remove(self, first: int, last: int | None = None) -> None:
        """Remove `first`, or all from `first` to `last`, as far as they are members."""
        last = first if last is None else last
        if last < first:
            return
        at = self._at(first)
        begin = at if at >= 0 and self._lasts[at] >= first else at + 1
        kept: list[tuple[int, int]] = []
        end = begin
        while end < len(self._firsts) and self._firsts[end] <= last:
            low, high = self._firsts[end], self._lasts[end]
            self._count -= min(high, last) - max(low, first) + 1
            if low < first:
                kept.append((low, first - 1))
            if high > last:
                kept.append((last + 1, high))
            end += 1
        self._firsts[begin:end] = [low for low, _ in kept]
        self._lasts[begin:end] = [high for _, high in kept]

    def add(self, number: int) -> None:
        """Add one number; nothing happens if it is a member."""
        at = self._at(number)
        if at >= 0 and number <= self._lasts[at]:
            return
        self._count += 1
        joins_left = at >= 0 and self._lasts[at] == number - 1
        joins_right = at + 1 < len(self._firsts) and self._firsts[at + 1] == number + 1
        if joins_left and joins_right:
            self._lasts[at] = self._lasts[at + 1]
            del self._firsts[at + 1], self._lasts[at + 1]
        elif joins_left:
            self._lasts[at] = number
        elif joins_right:
            self._firsts[at + 1] = number
        else:
            self._firsts.insert(at + 1, number)
            self._lasts.insert(at + 1, number)

    def _at(self, number: int) -> int:
        """Return the index of the last interval that begins at or before `number`, or -1."""
        self.steps += 1
        return bisect_right(self._firsts, number) - 1
