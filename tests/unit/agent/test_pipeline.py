import pytest

from thermogate.agent.config import RleSettings
from thermogate.agent.pipeline import Pipeline
from thermogate.agent.sources.base import Reading
from thermogate.agent.throttle import ThrottleSettings
from thermogate.core import profiles, wire
from thermogate.core.model import DeviceInfo

GPU = DeviceInfo(kind="gpu", device="0", model="H100-SXM", rated_power_w=700.0, temp_limit_c=87.0)
T0 = 1_763_712_000_000_000_000


def pipeline(*devices, profile="monitor", origin=None):
    made = Pipeline("n17", origin, RleSettings(profile=profile), ThrottleSettings())
    made.describe(devices or (GPU,))
    return made


def points(lines):
    return wire.parse_points(wire.format_header("n17", "ab", 1) + lines.encode())


def gpu(**fields):
    return Reading("gpu", "0", fields)


def test_a_reading_becomes_one_sound_line_with_its_rle():
    lines, events = pipeline().step([gpu(util_ratio=0.98, temp_c=63.0, power_w=612.4)], T0, 5.0)
    wire.check_telemetry("n17", wire.format_header("n17", "ab", 1) + lines.encode())
    (point,) = points(lines)
    expected = profiles.step(
        params := profiles.params("monitor", rated_power_w=700.0, temp_limit_c=87.0, interval_s=None),
        profiles.initial(params),
        profiles.Sample(0.98, 63.0, 612.4, 5.0),
    )[1]
    assert point.model == "H100-SXM"
    assert point.fields["rle"] == round(expected.rle_smoothed, 6)
    assert point.fields["e_pw"] == round(expected.e_pw, 6)
    assert point.fields["a_load_ratio"] == round(expected.a_load, 6)
    assert not events


@pytest.mark.parametrize("missing", ["util_ratio", "temp_c", "power_w"])
def test_without_one_of_its_inputs_there_is_no_rle_but_what_was_measured_is_sent(missing):
    fields = {"util_ratio": 0.98, "temp_c": 63.0, "power_w": 612.4}
    del fields[missing]
    (point,) = points(pipeline().step([gpu(**fields)], T0, 5.0)[0])
    assert point.fields == fields


@pytest.mark.parametrize("limits", [{"rated_power_w": None}, {"temp_limit_c": None}, {"rated_power_w": 0.0}])
def test_a_device_whose_limits_are_unknown_has_no_rle(limits):
    info = DeviceInfo(
        kind="gpu", device="0", model="X", **{"rated_power_w": 700.0, "temp_limit_c": 87.0, **limits}
    )
    (point,) = points(pipeline(info).step([gpu(util_ratio=0.9, temp_c=60.0, power_w=300.0)], T0, 0.0)[0])
    assert "rle" not in point.fields


def test_headroom_needs_no_power_and_no_rated_power():
    info = DeviceInfo(kind="gpu", device="0", model="X", temp_limit_c=87.0)
    made = pipeline(info, profile="headroom")
    (point,) = points(made.step([gpu(util_ratio=0.9, temp_c=60.0)], T0, 0.0)[0])
    assert "rle" in point.fields


def test_a_power_limit_lowered_at_run_time_is_the_rated_power_from_then_on():
    made = pipeline()
    fields = {"util_ratio": 0.9, "temp_c": 60.0, "power_w": 350.0}
    (before,) = points(made.step([gpu(**fields, power_limit_w=700.0)], T0, 0.0)[0])
    (after,) = points(made.step([gpu(**fields, power_limit_w=400.0)], T0, 1.0)[0])
    assert before.fields["a_load_ratio"] == 0.5
    assert after.fields["a_load_ratio"] == 0.875


@pytest.mark.parametrize("elapsed_s", [30.0, -5.0])
def test_after_a_gap_or_a_clock_that_goes_back_rle_starts_afresh(elapsed_s):
    made = pipeline()
    sample = {"temp_c": 60.0, "power_w": 350.0}
    for second in range(10):
        made.step([gpu(util_ratio=0.2 if second % 2 else 0.9, **sample)], T0, float(second))
    (point,) = points(made.step([gpu(util_ratio=0.9, **sample)], T0, elapsed_s)[0])
    (fresh,) = points(pipeline().step([gpu(util_ratio=0.9, **sample)], T0, 0.0)[0])
    assert point.fields == fresh.fields


def collapse_vector(made):
    """A minute of steady work, then heating at full load while the work done falls away."""
    seen, fields = [], []
    for second in range(62):
        made.step([gpu(util_ratio=0.98, temp_c=60.0, power_w=350.0)], T0 + second, float(second))
    for second in range(62, 80):
        reading = gpu(util_ratio=0.65, temp_c=60.0 + (second - 61), power_w=690.0)
        lines, events = made.step([reading], T0 + second * 10**9, float(second))
        seen += events
        fields.append(points(lines)[0].fields["collapse"])
    for second in range(80, 90):
        lines, events = made.step(
            [gpu(util_ratio=0.98, temp_c=60.0, power_w=350.0)], T0 + second * 10**9, float(second)
        )
        seen += events
    return seen, fields


def test_a_collapse_is_an_event_when_it_begins_and_one_when_it_ends():
    events, flags = collapse_vector(pipeline(origin="replay"))
    assert [e.event for e in events] == ["collapse_began", "collapse_ended"]
    began, ended = events
    assert (began.device_kind, began.device, began.origin) == ("gpu", "0", "replay")
    assert began.text.startswith("gpu0 collapsed: RLE 0.")
    assert ended.data["lasted_s"] == (ended.time_ns - began.time_ns) / 1e9
    assert flags.count(1) == ended.data["lasted_s"]


def test_the_same_readings_give_the_same_events():
    assert collapse_vector(pipeline()) == collapse_vector(pipeline())


def test_two_devices_do_not_share_a_state():
    other = DeviceInfo(kind="gpu", device="1", model="X", rated_power_w=300.0, temp_limit_c=80.0)
    both = pipeline(GPU, other)
    alone = pipeline(GPU)
    for second in range(8):
        zero = gpu(util_ratio=0.1 * second, temp_c=60.0, power_w=350.0)
        one = Reading("gpu", "1", {"util_ratio": 0.5, "temp_c": 70.0 + second, "power_w": 250.0})
        together = points(both.step([zero, one], T0, float(second))[0])
        (single,) = points(alone.step([zero], T0, float(second))[0])
        assert together[0] == single


def test_throttling_is_an_event_when_it_begins_and_one_when_it_is_over():
    made, told = pipeline(), []
    for second in range(20):
        fields = {"temp_c": 90.0, "throttled": int(second < 5), "clock_event_hw_thermal": int(second < 5)}
        told += made.step([gpu(**fields)], T0 + second, float(second))[1]
    assert [(event.event, event.device, event.text) for event in told] == [
        ("throttle_began", "0", "gpu0 is slowed down by temperature (hardware) at 90 C"),
        ("throttle_ended", "0", "gpu0 runs freely again after 4 s"),
    ]


@pytest.mark.parametrize("limit_c", [-5.0, 0.0])
def test_a_limit_that_cannot_be_is_none(limit_c):
    fields = {"util_ratio": 0.5, "temp_c": 50.0, "power_w": 100.0, "temp_limit_c": limit_c}
    lines, _ = pipeline().step([gpu(**fields)], T0, 1.0)
    assert "rle" not in points(lines)[0].fields
    lines, _ = pipeline().step([gpu(util_ratio=0.5, temp_c=50.0, power_w=1.0, power_limit_w=-3.0)], T0, 1.0)
    assert "rle" not in points(lines)[0].fields


def test_a_clock_that_is_set_does_not_change_how_long_a_collapse_lasted():
    made = pipeline()
    seen = []
    for second in range(90):
        steep = 62 <= second < 80
        fields = {"util_ratio": 0.65 if steep else 0.98, "temp_c": 60.0, "power_w": 690.0 if steep else 350.0}
        fields["temp_c"] += (second - 61) * steep
        set_back_ns = 3600 * 10**9 if second > 75 else 0
        seen += made.step([gpu(**fields)], T0 + second * 10**9 - set_back_ns, float(second))[1]
    (ended,) = [event for event in seen if event.event == "collapse_ended"]
    assert 0 < ended.data["lasted_s"] < 30
