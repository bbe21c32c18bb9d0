"""The signals on generated samples: finite, never negative, the same in other units, and carried by JSON."""

from math import isfinite

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.signal_traces import at, sample
from thermogate.analytics import signals
from thermogate.analytics.config import SignalSettings
from thermogate.analytics.policies.base import JobObservation, Member
from thermogate.core.wire import Point

QUICK = SignalSettings(fast_s=5, slow_s=20, learn_s=60, drift_s=20, heat_s=5, recovery_s=60, habit_s=60)
"""Windows so short that a generated trace fills them."""

WILD = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e307, max_value=1e307)
SANE = st.floats(0.0, 1000.0)
NAMES = ("rle", "power_w", "power_limit_w", "temp_c", "temp_limit_c")
FIELDS = st.fixed_dictionaries({}, optional={name: st.one_of(SANE, WILD) for name in NAMES})
STEP_S = st.one_of(st.sampled_from((1.0, 1.0, 1.0, 10.0)), st.floats(-100.0, 10_000.0))
DEVICES = st.sampled_from(("gpu0", "gpu1", "cpu0"))
BUSY = st.fixed_dictionaries(
    {
        "rle": st.floats(0.0, 2.0),
        "power_w": st.floats(50.0, 450.0),
        "power_limit_w": st.just(400.0),
        "temp_c": st.floats(20.0, 95.0),
        "temp_limit_c": st.just(90.0),
    }
)


@st.composite
def traces(draw: st.DrawFn, fields: st.SearchStrategy[dict[str, float]] = FIELDS) -> list[Point]:
    """Samples of three devices at whatever intervals, back in time too."""
    second, points = 0.0, []
    for device, step_s, values in draw(st.lists(st.tuples(DEVICES, STEP_S, fields), max_size=60)):
        second = max(0.0, second + step_s)
        points.append(sample(second, device=device, **values))
    return points


@st.composite
def steady(draw: st.DrawFn) -> list[Point]:
    """Two minutes of one busy device, a sample a second."""
    values = draw(st.lists(BUSY, min_size=5, max_size=20))
    return [sample(second, device="gpu0", **values[second % len(values)]) for second in range(120)]


def play(
    points: list[Point], state: signals.NodeState | None = None
) -> tuple[signals.NodeState, list[float]]:
    """The state after the samples, and every value that a signal had."""
    state, found = state or signals.initial(), []
    for point in points:
        state, after = signals.step(QUICK, state, (point,), {})
        for one in after.values():
            found += [one.volatility, one.overload, one.repair_severity]
    return state, [value for value in found if value is not None]


@given(traces())
@settings(deadline=None)
def test_signals_are_finite_and_never_negative_whatever_is_sent(points):
    _, found = play(points)
    assert all(isfinite(value) and value >= 0 for value in found)


@given(traces())
@settings(deadline=None)
def test_the_state_is_carried_by_json_and_goes_on_the_same(points):
    half = len(points) // 2
    state, _ = play(points[:half])
    carried = msgspec.json.decode(msgspec.json.encode(state), type=signals.NodeState)
    assert carried == state
    assert play(points[half:], carried) == play(points[half:], state)


@given(steady())
@settings(deadline=None, max_examples=30)
def test_the_size_of_the_state_does_not_grow(points):
    state, found = play(points)
    again, _ = play([msgspec.structs.replace(p, time_ns=p.time_ns + at(500) - at(0)) for p in points], state)
    assert found
    assert _numbers(again) == _numbers(state)


@given(steady(), st.sampled_from((0.01, 0.5, 7.0, 100.0)))
@settings(deadline=None, max_examples=30)
def test_signals_are_the_same_in_other_units_of_power_and_of_rle(points, factor):
    scaled = [
        msgspec.structs.replace(
            point,
            fields={
                name: value * factor if name in ("rle", "power_w", "power_limit_w") else value
                for name, value in point.fields.items()
            },
        )
        for point in points
    ]
    _, found = play(points)
    _, same = play(scaled)
    assert len(found) == len(same)
    assert all(abs(a - b) <= 1e-6 * max(1.0, a) for a, b in zip(found, same, strict=True))


@given(steady(), st.floats(21.0, 1e6))
@settings(deadline=None, max_examples=30)
def test_after_a_gap_a_device_that_goes_on_as_before_is_as_before(points, gap_s):
    state, _ = play(points)
    later = [msgspec.structs.replace(p, time_ns=p.time_ns + at(120 + gap_s) - at(0)) for p in points]
    before = signals.step(QUICK, play(points[:-1])[0], (points[-1],), {})[1]["gpu0"]
    after = signals.step(QUICK, play(later[:-1], state)[0], (later[-1],), {})[1]["gpu0"]
    assert abs(after.volatility - before.volatility) < 0.01
    assert abs(after.overload - before.overload) < 0.05 * max(1.0, before.overload)


@given(
    st.lists(
        st.tuples(
            st.lists(st.one_of(st.none(), SANE, WILD), min_size=4, max_size=4),
            st.one_of(st.just(1.0), st.floats(0.0, 100.0)),
        ),
        max_size=50,
    )
)
@settings(deadline=None)
def test_incoherence_is_finite_and_never_negative_and_its_state_is_carried_by_json(instants):
    second, state = 0.0, signals.initial_job()
    for powers, step_s in instants:
        second += step_s
        members = tuple(
            Member(
                node="n1",
                device=f"gpu{index}",
                began_ns=0,
                point=sample(second, device=f"gpu{index}", power_w=power_w, power_limit_w=400.0),
            )
            for index, power_w in enumerate(powers)
        )
        seen = JobObservation(target="4711", now_ns=at(second), members=members)
        state, found, job = signals.step_job(QUICK, state, seen)
        assert all(isfinite(value) and value >= 0 for value in found.values())
        assert job == max(found.values(), default=None)
        assert msgspec.json.decode(msgspec.json.encode(state), type=signals.JobState) == state


def _numbers(state: signals.NodeState) -> int:
    """How many values the state holds."""
    return msgspec.json.encode(state).count(b",")
