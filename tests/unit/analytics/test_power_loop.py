"""The power budget in a closed loop: recorded trainings on nodes that obey late, and hunt."""

from benchmarks.power_budget import Scenario, jain, longest, play

HOUR = Scenario("test", nodes=12, hours=0.75)


def test_with_recorded_trainings_the_cap_is_kept_used_and_shared():
    outcome = play(HOUR)
    assert outcome.over_s <= 25
    assert outcome.over_10s_share < 0.03
    assert outcome.worst < 1.04
    assert outcome.used > 0.92
    assert outcome.fairness > 0.99
    assert outcome.changes_per_node_hour < 30
    assert outcome.held_share == 0.0


def test_that_the_policy_does_it_is_seen_when_nobody_obeys():
    outcome = play(HOUR._replace(obeyed=False))
    assert outcome.over_10s_share > 0.8
    assert outcome.worst > 1.3
    assert outcome.held_share == 0.0


def test_when_all_jobs_begin_in_one_second_it_is_under_its_cap_within_half_a_minute():
    outcome = play(HOUR._replace(at_once=True))
    assert outcome.over_s <= 30
    assert outcome.used > 0.9
    assert outcome.fairness > 0.99


def test_paces_that_are_kept_by_smaller_batches_use_the_cap_as_well():
    outcome = play(HOUR._replace(proportional=True))
    assert outcome.over_s <= 25
    assert outcome.used > 0.9


def test_a_cap_too_low_for_all_at_the_least_pace_is_kept_by_holding_some():
    outcome = play(HOUR._replace(cap_share=0.42))
    assert 0.2 < outcome.held_share < 0.7
    assert outcome.over_10s_share < 0.08
    assert outcome.changes_per_node_hour < 20


def test_what_is_measured_is_measured_rightly():
    assert jain([1.0, 1.0, 1.0]) == 1.0
    assert jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert longest([1, 3, 3, 1, 3, 3, 3, 1], 2.0) == 3
