"""A set of sequence numbers that mostly follow one another."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """Whole numbers, kept as ascending inclusive ranges that do not touch.

    Memory and time go with the number of ranges, not with how many numbers they hold.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self.total = 0
        """How many numbers are in the set."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, ascending."""
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        return self.missing_from(number) != number

    def add(self, first: int, last: int) -> None:
        """Put first..last in; nothing when last is before first."""
        if last < first:
            return
        self.total += last - first + 1 - self.count(first, last)
        begin = bisect_left(self._lasts, first - 1)
        end = bisect_right(self._firsts, last + 1)
        if begin < end:
            first = min(first, self._firsts[begin])
            last = max(last, self._lasts[end - 1])
        self._firsts[begin:end] = [first]
        self._lasts[begin:end] = [last]

    def discard_below(self, number: int) -> None:
        """Take out everything smaller than `number`."""
        end = bisect_left(self._lasts, number)
        self.total -= sum(self._lasts[:end]) - sum(self._firsts[:end]) + end
        del self._firsts[:end], self._lasts[:end]
        if self._firsts and self._firsts[0] < number:
            self.total -= number - self._firsts[0]
            self._firsts[0] = number

    def count(self, first: int, last: int) -> int:
        """How many of first..last are in the set; 0 when last is before first."""
        if last < first:
            return 0
        begin = bisect_left(self._lasts, first)
        end = bisect_right(self._firsts, last)
        return sum(min(last, self._lasts[i]) - max(first, self._firsts[i]) + 1 for i in range(begin, end))

    def missing_from(self, number: int) -> int:
        """The smallest number that is not in the set, from `number` on."""
        index = bisect_left(self._lasts, number)
        if index < len(self._firsts) and self._firsts[index] <= number:
            return self._lasts[index] + 1
        return number
