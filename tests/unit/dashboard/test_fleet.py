import msgspec
import pytest

from tests.fake_fleet import decision
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.wire import Point
from thermogate.dashboard.fleet import FleetRow, digest, natural, rows
from thermogate.dashboard.settings import DashboardSettings

NOW = 1_763_712_000 * NS
SETTINGS = DashboardSettings()
VALUES = ("util_ratio", "temp_c", "temp_limit_c", "power_w", "power_limit_w", "rle", "t_sustain_s")


def point(node="n1", device="0", *, age_s=0.0, kind="gpu", origin="", **fields):
    given = {"temp_c": 60.0, "util_ratio": 0.9, "power_w": 300.0, "temp_limit_c": 83.0} | fields
    known = {name: value for name, value in given.items() if value is not None}
    return Point(kind, node, device, "H100", origin, known, NOW - int(age_s * NS))


def status(node="n1", *, online=True, age_s=0.0, devices=("0",), text="", **info):
    infos = tuple(DeviceInfo(kind="gpu", device=d, model="H100", **info) for d in devices)
    return Status(node=node, online=online, time_ns=NOW - int(age_s * NS), devices=infos, text=text)


def only(*args, **changes) -> FleetRow:
    latest, statuses, gates = (list(part) for part in (*args, (), ())[:3])
    (row,) = rows(latest, statuses, gates, NOW, msgspec.structs.replace(SETTINGS, **changes))
    return row


def test_a_device_that_is_well_shows_its_values_and_says_nothing():
    row = only([point(rle=0.41, t_sustain_s=600.0)])
    assert (row.state, row.text, row.live) == ("ok", "", True)
    assert (row.temp_c, row.power_w, row.util_ratio, row.rle) == (60.0, 300.0, 0.9, 0.41)


def test_what_was_not_measured_is_none():
    row = only([point(power_w=None)])
    assert row.power_w is None
    assert row.rle is None


def test_a_device_without_a_sample_for_over_ten_seconds_is_stale_and_shows_no_value():
    assert only([point(age_s=10.0)]).state == "ok"
    row = only([point(age_s=10.5)])
    assert (row.state, row.text, row.live) == ("stale", "no sample since 07:59:49 UTC", False)
    assert [getattr(row, name) for name in VALUES] == [None] * len(VALUES)
    assert (row.node, row.model, row.age_s) == ("n1", "H100", 10.5)


def test_a_node_that_has_been_offline_for_over_a_day_is_shown_no_more():
    day_s = SETTINGS.forget_offline_s
    assert only([], [status(online=False, age_s=day_s)]).state == "offline"
    assert rows([], [status(online=False, age_s=day_s + 1)], [], NOW, SETTINGS) == []
    assert only([point(age_s=day_s - 1)], [status(online=False, age_s=7 * day_s)]).state == "offline"
    assert only([], [status(online=True, age_s=7 * day_s)]).state == "stale"


def test_a_node_that_says_offline_is_offline_since_its_last_sample():
    # A last will was written when the node connected, long before it went.
    row = only([point(age_s=3.0)], [status(online=False, age_s=7200, text="lost")])
    assert (row.state, row.live) == ("offline", False)
    assert row.text == "node offline since 07:59:57 UTC; lost"
    assert row.temp_c is None


def test_a_listed_device_without_samples_has_a_row_that_says_so():
    assert only([], [status()]).text == "no sample yet"
    row = only([], [status(age_s=600)])
    assert (row.state, row.text, row.time_ns, row.age_s) == ("stale", "no sample since start", None, None)


def test_a_clock_that_runs_ahead_is_told_and_not_taken_for_live():
    row = only([point(age_s=-60)])
    assert (row.state, row.text, row.age_s) == ("stale", "its clock is 60 s ahead: set it", 0.0)


def test_a_collapse_is_told_with_its_numbers():
    row = only([point(collapse=1.0, rle=0.13, rle_peak=0.26)])
    assert (row.state, row.text) == ("collapse", "thermal collapse: RLE 0.13, 50 % of its peak 0.26")
    assert only([point(collapse=1.0)]).text == "thermal collapse"
    assert only([point(collapse=0.0)]).state == "ok"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"temp_c": 78.0}, "78 °C, 5 °C below its limit of 83 °C"),
        ({"temp_c": 85.0}, "85 °C, at or above its limit of 83 °C"),
        ({"t_sustain_s": 34.0}, "reaches its limit of 83 °C in 34 s at this rate"),
        (
            {"t_sustain_s": 34.0, "util_ratio": 0.2, "power_limit_w": 350.0},
            "reaches its limit of 83 °C in 34 s",
        ),
    ],
)
def test_a_device_near_its_limit_or_soon_there_under_load_is_hot(fields, text):
    row = only([point(**fields)])
    assert row.state == "hot"
    assert row.text.startswith(text)


def test_a_device_that_throttles_says_by_what_and_comes_before_a_hot_one():
    row = only([point(throttled=1.0, clock_event_hw_thermal=1.0, clock_event_sw_power_cap=1.0, temp_c=84.0)])
    assert (row.state, row.text) == ("throttled", "slowed down by temperature (hardware)")
    assert only([point(throttled=1.0)]).text == "slows itself down"
    assert only([point(throttled=0.0)]).state == "ok"


@pytest.mark.parametrize(
    "fields",
    [
        {"temp_c": 77.9},
        {"t_sustain_s": 60.0},
        {"t_sustain_s": 34.0, "util_ratio": 0.2},
        {"temp_c": 90.0, "temp_limit_c": None},
    ],
)
def test_a_device_far_from_its_limit_or_idle_or_without_one_is_not_hot(fields):
    assert only([point(**fields)]).state == "ok"


def test_limits_that_samples_do_not_carry_come_from_the_inventory():
    row = only(
        [point(temp_limit_c=None, temp_c=81.0)],
        [status(temp_limit_c=83.0, rated_power_w=350.0, assumed=("temp_limit_c",))],
    )
    assert (row.temp_limit_c, row.power_limit_w, row.state) == (83.0, 350.0, "hot")
    assert row.assumed == ("temp_limit_c",)
    assert only([point()], [status(temp_limit_c=90.0)]).temp_limit_c == 83.0


@pytest.mark.parametrize("mode", ["shadow", "enforce"])
def test_a_valid_repair_gate_comes_before_everything_and_says_its_mode(mode):
    gate = decision("n1", State.REPAIR, "gpu1 is lost", now_ns=NOW, id_="A", mode=mode)
    row = only([point(collapse=1.0)], [], [gate])
    assert (row.state, row.text, row.live) == ("repair", f"REPAIR ({mode}): gpu1 is lost", True)
    assert row.gate == gate
    silent = only([point(age_s=60)], [], [gate])
    assert silent.text == f"REPAIR ({mode}): gpu1 is lost; no sample since 07:59:00 UTC"
    assert not silent.live
    assert silent.temp_c is None


def test_an_expired_gate_is_not_shown():
    gate = decision("n1", State.REPAIR, "old", now_ns=NOW, id_="A", expires_at_ns=NOW)
    row = only([point()], [], [gate])
    assert (row.state, row.gate) == ("ok", None)


def test_a_gate_of_another_node_or_of_a_job_with_its_name_is_not_shown():
    gates = [
        decision("n2", State.REPAIR, "other", now_ns=NOW, id_="A"),
        decision("n1", State.HOLD, "a job", now_ns=NOW, id_="B", kind="job"),
    ]
    assert only([point()], [], gates).gate is None


def test_what_is_replayed_says_so_even_before_its_first_sample():
    assert only([point(origin="replay")]).origin == "replay"
    replayed = msgspec.structs.replace(status(), origin="replay")
    assert only([], [replayed]).origin == "replay"
    assert only([point()], [status()]).origin is None


def test_agents_are_no_devices():
    assert rows([point(kind="agent", device="")], [], [], NOW, SETTINGS) == []


def test_the_most_urgent_come_first_and_names_are_sorted_as_people_count():
    latest = [
        point("n10"),
        point("n2", "10"),
        point("n2", "2"),
        point("n2", "0", kind="cpu"),
        point("n3", age_s=60),
        point("n4", temp_c=82.0),
        point("n5", collapse=1.0),
        point("n6"),
        point("n7", collapse=1.0),
    ]
    gates = [decision("n7", State.REPAIR, "lost", now_ns=NOW, id_="A")]
    found = rows(latest, [status("n6", online=False)], gates, NOW, SETTINGS)
    assert [(r.state, r.node, r.kind + r.device) for r in found] == [
        ("repair", "n7", "gpu0"),
        ("collapse", "n5", "gpu0"),
        ("hot", "n4", "gpu0"),
        ("stale", "n3", "gpu0"),
        ("offline", "n6", "gpu0"),
        ("ok", "n2", "gpu2"),
        ("ok", "n2", "gpu10"),
        ("ok", "n2", "cpu0"),
        ("ok", "n10", "gpu0"),
    ]


def test_the_thresholds_are_settings():
    assert only([point(age_s=5)], stale_after_s=3.0).state == "stale"
    assert only([point(temp_c=70.0)], hot_margin_c=15.0).state == "hot"


def test_the_digest_ignores_ages_and_nothing_else():
    def of(*points, gates=(), now_ns=NOW):
        return digest(rows(points, [], gates, now_ns, SETTINGS))

    assert of(point()) == of(point(), now_ns=NOW + NS)
    gate = decision("n1", State.RUN, "well", now_ns=NOW, id_="A")
    assert len({of(), of(point()), of(point(age_s=1)), of(point(), gates=[gate]), of(point("n2"))}) == 5


def test_natural_order_reads_numbers_as_numbers():
    assert sorted(["gpu10", "gpu2", "a-2-b", "a-10-b", "7"], key=natural) == [
        "7",
        "a-2-b",
        "a-10-b",
        "gpu2",
        "gpu10",
    ]
