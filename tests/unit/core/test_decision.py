from hypothesis import given
from hypothesis import strategies as st

from thermogate.core.decision import new_ulid

TIMES = st.integers(0, 2**48 * 1_000_000 - 1)


@given(TIMES, TIMES, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ulids_sort_by_their_millisecond(a, b, entropy_a, entropy_b):
    first, second = new_ulid(a, entropy_a), new_ulid(b, entropy_b)
    assert len(first) == len(second) == 26
    if a // 1_000_000 != b // 1_000_000:
        assert (first < second) == (a < b)


def test_a_ulid_matches_the_specifications_example_time():
    # github.com/ulid/spec: 01ARYZ6S41 is 1469918176385 ms
    assert new_ulid(1469918176385 * 1_000_000).startswith("01ARYZ6S41")


def test_two_ulids_of_one_instant_differ():
    assert new_ulid(5) != new_ulid(5)
