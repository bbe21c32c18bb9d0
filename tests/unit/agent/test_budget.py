from hypothesis import given
from hypothesis import strategies as st

from thermogate.agent.budget import BudgetSettings, step

SETTINGS = BudgetSettings(cpu_ratio=0.02, window_s=60.0, back_ratio=0.5, wait_s=600.0, wait_max_s=4800.0)
CHEAP, DEAR = 0.004, 0.05


def changes(share, seconds, *, every_s=10, settings=SETTINGS, catching_up=lambda second: False):
    """(second, event) of every change; `share` gives the share of a core by second and mode."""
    state, cpu_s, frugal, found = None, 3.0, False, []
    for second in range(0, seconds, every_s):
        state, change = step(settings, state, 1000.0 + second, cpu_s, catching_up=catching_up(second))
        if change:
            frugal = change.frugal
            found.append((second, change.event))
        cpu_s += every_s * share(second, frugal)
    return found


def test_an_agent_within_its_budget_changes_nothing():
    assert changes(lambda second, frugal: 0.019, 86_400, every_s=30) == []


def test_optional_sensors_are_left_out_after_a_window_over_the_budget():
    assert changes(lambda second, frugal: DEAR, 500) == [(60, "frugal_began")]


def test_one_slow_sweep_is_no_habit():
    assert changes(lambda second, frugal: 0.09 if second == 30 else CHEAP, 3600) == []


def test_what_the_start_has_cost_is_not_counted():
    state, _ = step(SETTINGS, None, 10.0, 900.0)
    assert step(SETTINGS, state, 70.0, 900.1)[1] is None


def test_optional_sensors_come_back_after_the_wait_once_there_is_room():
    slow = range(1000)
    found = changes(lambda second, frugal: DEAR if second in slow and not frugal else CHEAP, 5000)
    assert found == [
        (60, "frugal_began"),
        (660, "frugal_ended"),
        (720, "frugal_began"),
        (1920, "frugal_ended"),
    ]


def test_they_stay_away_while_leaving_them_out_does_not_help():
    assert changes(lambda second, frugal: DEAR, 86_400, every_s=30) == [(60, "frugal_began")]


def test_they_stay_away_while_they_would_hardly_fit():
    assert changes(lambda second, frugal: 0.015 if frugal else DEAR, 86_400, every_s=30) == [
        (60, "frugal_began")
    ]


def test_each_return_that_fails_doubles_the_wait_up_to_its_end():
    found = changes(lambda second, frugal: CHEAP if frugal else DEAR, 30_000)
    began = [second for second, event in found if event == "frugal_began"]
    ended = [second for second, event in found if event == "frugal_ended"]
    waits = [end - begin for begin, end in zip(began, ended, strict=False)]
    assert waits[:6] == [600, 1200, 2400, 4800, 4800, 4800]


def test_the_wait_is_short_again_after_a_return_that_went_well():
    def share(second, frugal):
        return DEAR if not frugal and not 1900 <= second < 10_000 else CHEAP

    found = [second for second, _ in changes(share, 11_000)]
    assert found == [60, 660, 720, 1920, 10_080, 10_680, 10_740]


def test_sending_a_backlog_sheds_nothing():
    backlog = range(500, 1500)

    def share(second, frugal):
        return DEAR if second in backlog else CHEAP

    assert changes(share, 3000, catching_up=lambda second: second in backlog or second == 1500) == []
    assert changes(share, 3000) != []


def test_the_event_says_what_was_taken_and_what_was_allowed():
    state, _ = step(SETTINGS, None, 0.0, 1.0)
    state, change = step(SETTINGS, state, 60.0, 4.0)
    assert change.event == "frugal_began"
    assert change.text == (
        "the agent takes 5.00% of a core, more than its budget of 2.00%: it leaves out optional sensors"
    )
    assert change.data == {"cpu_ratio": 0.05, "budget_ratio": 0.02, "wait_s": 600.0}
    state, change = step(SETTINGS, state, 700.0, 6.56)
    assert change.event == "frugal_ended"
    assert change.text == (
        "the agent takes 0.40% of a core of its budget of 2.00%: optional sensors are back after 640 s"
    )


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=300))
def test_beginnings_and_ends_take_turns_and_never_closer_than_the_wait(shares):
    found = changes(lambda second, frugal: shares[second // 60], 60 * len(shares), every_s=60)
    assert [event for _, event in found] == (["frugal_began", "frugal_ended"] * len(found))[: len(found)]
    for (began, _), (ended, _) in zip(found[::2], found[1::2], strict=False):
        assert ended - began >= SETTINGS.wait_s
