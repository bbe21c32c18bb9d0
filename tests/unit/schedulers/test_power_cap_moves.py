"""Which limit a GPU gets, and whose the present one is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.schedulers.adapter import Mark
from thermogate.schedulers.power_caps.caps import WATT_MW, Claim, Limits, cap_mw, claim_of, detail_of, move

BOOT = "b1"


def limits(now_w: float = 700, least_w: float = 200, default_w: float = 700) -> Limits:
    return Limits(round(now_w * 1000), round(least_w * 1000), round(default_w * 1000))


def mark(*ours_w: float, before_w: float = 700, boot: str = BOOT, done: bool = True) -> Mark:
    ours = tuple(round(watts * 1000) for watts in ours_w)
    return Mark(detail_of(Claim(boot, round(before_w * 1000), ours)), done)


def test_a_pace_is_that_share_of_the_default_limit():
    assert cap_mw(0.7, limits()) == 490_000
    assert cap_mw(0.7, limits(now_w=500)) == 490_000


@pytest.mark.parametrize(("pace", "watts"), [(0.0, 200), (0.1, 200), (0.999, 699), (1.0, 700)])
def test_a_limit_is_in_whole_watts_within_the_bounds_of_the_device(pace, watts):
    assert cap_mw(pace, limits()) == watts * 1000


def test_a_cap_is_set_with_the_limit_before_it_in_the_journal():
    found = move(limits(), None, 0.7, BOOT)
    assert (found.what, found.limit_mw) == ("set", 490_000)
    assert found.claim == Claim(BOOT, 700_000, (490_000,))


def test_a_limit_that_is_low_enough_already_is_anothers():
    assert move(limits(now_w=400), None, 0.7, BOOT).what == "rest"
    assert move(limits(now_w=490.4), None, 0.7, BOOT).what == "rest"


def test_another_pace_keeps_the_first_limit_before_and_both_of_ours_until_it_is_set():
    found = move(limits(now_w=490), mark(490), 0.5, BOOT)
    assert (found.what, found.limit_mw) == ("set", 350_000)
    assert found.claim == Claim(BOOT, 700_000, (490_000, 350_000))


def test_a_pace_that_asks_for_no_less_than_was_there_before_restores():
    found = move(limits(now_w=350), mark(350, before_w=500), 0.9, BOOT)
    assert (found.what, found.limit_mw) == ("restore", 500_000)


def test_a_release_restores_what_was_there_before_and_not_the_default():
    found = move(limits(now_w=350), mark(350, before_w=500), 1.0, BOOT)
    assert (found.what, found.limit_mw) == ("restore", 500_000)


def test_a_limit_that_the_driver_rounded_is_still_ours():
    assert move(limits(now_w=490.7), mark(490), 1.0, BOOT).what == "restore"
    assert move(limits(now_w=490.7), mark(490), 0.7, BOOT).what == "rest"


@pytest.mark.parametrize("now_w", [300, 600, 700])
def test_a_limit_that_somebody_has_changed_meanwhile_stays(now_w):
    assert move(limits(now_w=now_w), mark(490), 0.7, BOOT).what == "theirs"
    assert move(limits(now_w=now_w), mark(490), 0.4, BOOT).what == "theirs"
    assert move(limits(now_w=now_w), mark(490), 1.0, BOOT).what == "forget"


def test_after_another_boot_nothing_is_ours():
    assert move(limits(), mark(490, boot="b0"), 1.0, BOOT).what == "forget"
    assert move(limits(now_w=490), mark(490, boot="b0"), 1.0, BOOT).what == "forget"
    assert move(limits(), mark(490, boot="b0"), 0.5, BOOT).claim == Claim(BOOT, 700_000, (350_000,))


def test_killed_before_the_limit_was_set_it_is_set_after_all_or_forgotten():
    assert move(limits(), mark(490, done=False), 0.7, BOOT).what == "set"
    assert move(limits(), mark(490, done=False), 1.0, BOOT).what == "forget"


def test_killed_between_two_caps_either_of_them_is_ours():
    both = mark(490, 350, done=False)
    assert move(limits(now_w=490), both, 1.0, BOOT).what == "restore"
    assert move(limits(now_w=350), both, 1.0, BOOT).what == "restore"
    again = move(limits(now_w=490), both, 0.5, BOOT)
    assert (again.what, again.limit_mw) == ("set", 350_000)


def test_after_a_reset_of_the_gpu_its_default_limit_is_nobodys_wish():
    found = move(limits(), mark(490), 0.7, BOOT, was_reset=True)
    assert (found.what, found.limit_mw) == ("set", 490_000)
    assert move(limits(), mark(490), 1.0, BOOT, was_reset=True).what == "forget"
    assert move(limits(now_w=600), mark(490), 0.7, BOOT, was_reset=True).what == "theirs"


def test_a_mark_that_is_not_readable_claims_nothing():
    assert claim_of(Mark("{")) is None
    assert move(limits(now_w=490), Mark("{"), 1.0, BOOT).what == "forget"


PACES = st.floats(0, 1)


@given(PACES, st.integers(1_000, 900_000), st.integers(0, 900_000), st.integers(0, 900_000))
def test_a_limit_is_within_the_bounds_and_never_above_the_share_but_for_the_least(pace, most, least, now):
    bounds = Limits(now, min(least, most), most)
    cap = cap_mw(pace, bounds)
    assert bounds.least_mw <= cap <= bounds.default_mw
    assert cap <= max(bounds.least_mw, pace * most + 1)


@given(st.lists(PACES, max_size=8), st.integers(100, 700), st.booleans())
def test_whatever_paces_come_the_limit_is_only_lowered_and_the_first_one_comes_back(paces, before_w, crashes):
    now, claimed = limits(now_w=before_w), None
    for pace in [*paces, 1.0]:
        one = move(now, claimed, pace, BOOT)
        if one.what == "set":
            claimed = Mark(detail_of(one.claim), done=not crashes)
        elif one.what in ("restore", "forget"):
            claimed = None
        if one.what in ("set", "restore"):
            now = Limits(one.limit_mw, now.least_mw, now.default_mw)
        assert now.now_mw <= before_w * 1000
        assert now.now_mw <= max(pace * now.default_mw, now.least_mw, 0) + WATT_MW or pace == 1.0
    assert now.now_mw == before_w * 1000
    assert claimed is None
