"""How several alarms of heat are told together."""

from tests.unit.analytics.making import Watched, collapsing, event, heating, point, trace
from thermogate.core.decision import State


def test_many_alarms_are_told_in_a_sentence_that_ends():
    hot = [point(second, device=f"gpu{device}", temp_c=89.0) for second in range(60) for device in range(8)]
    node = Watched()
    verdict = node.hear(*hot)
    assert verdict.why.startswith("gpu0 works at 89 C")
    assert "(also gpu1, gpu2, gpu3, gpu4, gpu5, gpu6, gpu7)" in verdict.why
    assert verdict.cjp.path.endswith(", and the same for 5 more")
    assert len(verdict.because) == 8


def test_heat_is_told_before_collapse():
    node = Watched()
    hot = trace(heating(to_c=86.0), start=400)
    verdict = node.hear(*collapsing((50, 150, 250), 300), *hot)
    assert verdict.why.startswith("gpu0 is at ")
    assert [reason.metric for reason in verdict.because] == ["time_to_limit_s", "temp_c", "collapse"]


def test_above_its_limit_a_device_is_said_to_be_so():
    node = Watched()
    node.hear(*trace([*[86.0] * 40, *[86.0 + 0.5 * step for step in range(1, 13)]]))
    assert [state for _, state in node.changes()] == [State.HOLD]
    said = "gpu0 is at 91.5 C under load, 1.5 C above its limit of 90 C (HOLD when less than 60 s from it)"
    assert node.verdict_at(51.0).why.startswith(said)
    assert not any("in 0 s" in verdict.why for _, verdict in node.verdicts)


def test_a_lost_gpu_is_no_matter_of_heat():
    node = Watched()
    node.hear(
        *trace([60.0] * 10),
        event(10, "gpu_lost"),
        *[point(s, device="cpu0", temp_c=50.0) for s in range(9, 60)],
    )
    assert node.changes() == []
