"""The circuit breaker: how much of a fleet and of a group may be held."""

from hypothesis import given
from hypothesis import strategies as st

from thermogate.analytics.breaker import Breaker, Groups
from thermogate.analytics.config import GroupSettings

RACKS = Groups((GroupSettings(name="rack1", nodes=("a*",)), GroupSettings(name="rack2", nodes=("b?", "c1"))))


def breaker(count, *, share=0.1, least=1, group_share=0.5):
    found = Breaker("nodes", share, least, groups=RACKS, group_share=group_share)
    for number in range(count):
        found.see(f"a{number}")
    return found


def test_a_node_is_in_the_groups_whose_patterns_it_fits():
    assert [RACKS.of(name) for name in ("a17", "b1", "b12", "c1", "")] == [
        ("rack1",),
        ("rack2",),
        (),
        ("rack2",),
        (),
    ]


def test_a_share_of_the_fleet_may_be_held_and_one_in_any_case():
    assert [breaker(count).most for count in (0, 1, 9, 10, 29, 30, 500)] == [1, 1, 1, 1, 2, 3, 50]


def test_past_it_the_reason_is_told_and_what_is_held_has_its_room():
    full = breaker(20)
    for name in ("a1", "a2"):
        full.set_held(name, held=True)
    room = full.room("a3")
    assert (room.free, room.why) == (False, "2 of 20 nodes are held already (10% at most)")
    assert full.room("a1").free
    full.set_held("a1", held=False)
    assert full.room("a3").free


def test_a_group_has_a_bound_of_its_own():
    small = Breaker("nodes", 1.0, 1, groups=RACKS, group_share=0.5)
    for name in ("b1", "b2", "b3", "c1", "a1"):
        small.see(name)
    for name in ("b1", "c1"):
        small.set_held(name, held=True)
    assert small.room("b2").why == "2 of 4 nodes of rack2 are held already (50% at most)"
    assert small.room("a1").free


def test_a_node_that_has_gone_is_held_no_more():
    one = breaker(10)
    one.set_held("a1", held=True)
    assert not one.room("a2").free
    one.forget("a1")
    assert one.room("a2").free
    assert one.most == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["see", "forget", "hold", "let go"]), st.integers(0, 12)), max_size=200
)


@given(STEPS)
def test_whatever_comes_and_goes_what_is_newly_held_is_within_both_bounds(steps):
    one = Breaker("nodes", 0.3, 1, groups=RACKS, group_share=0.5)
    known, held = set(), set()
    for what, number in steps:
        name = f"{'ab'[number % 2]}{number % 10}"
        match what:
            case "see":
                one.see(name)
                known.add(name)
            case "forget":
                one.forget(name)
                known.discard(name)
                held.discard(name)
            case "hold" if name in known and one.room(name).free and name not in held:
                one.set_held(name, held=True)
                held.add(name)
                assert len(held) <= max(1, int(len(known) * 0.3))
                group = {other for other in known if RACKS.of(other) == RACKS.of(name)}
                assert len(held & group) <= max(1, int(len(group) * 0.5))
            case "let go":
                one.set_held(name, held=False)
                held.discard(name)
    assert one.held == held
