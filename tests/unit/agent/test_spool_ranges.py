"""Ranges against a plain set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from thermogate.agent.spool_ranges import Ranges

NUMBERS = st.integers(0, 40)
SPANS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12)


def both(spans: list[tuple[int, int]]) -> tuple[Ranges, set[int]]:
    ranges, numbers = Ranges(), set[int]()
    for first, last in spans:
        ranges.add(first, last)
        numbers |= set(range(first, last + 1))
    return ranges, numbers


@given(SPANS)
def test_ranges_hold_what_was_added_and_never_touch(spans: list[tuple[int, int]]) -> None:
    ranges, numbers = both(spans)
    kept = list(ranges)
    assert {n for first, last in kept for n in range(first, last + 1)} == numbers
    assert ranges.total == len(numbers)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(kept))


@given(SPANS, NUMBERS, NUMBERS)
def test_ranges_answer_as_a_set_does(spans: list[tuple[int, int]], first: int, last: int) -> None:
    ranges, numbers = both(spans)
    assert ranges.count(first, last) == len(numbers & set(range(first, last + 1)))
    assert (first in ranges) == (first in numbers)
    assert ranges.missing_from(first) == next(n for n in range(first, 99) if n not in numbers)


@given(SPANS, NUMBERS)
def test_ranges_forget_what_is_below(spans: list[tuple[int, int]], floor: int) -> None:
    ranges, numbers = both(spans)
    ranges.discard_below(floor)
    left = {n for n in numbers if n >= floor}
    assert {n for first, last in ranges for n in range(first, last + 1)} == left
    assert ranges.total == len(left)
