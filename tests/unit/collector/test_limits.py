"""What a sound message may bring into a store."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.making import NOW_NS, decision, event, message, sample, status
from tests.mutations import mutated, sound
from tests.unit.collector.fake_broker import event_message, received, telemetry
from thermogate.collector.checking import check
from thermogate.collector.config import LimitSettings
from thermogate.collector.limits import Limits
from thermogate.core.clock import NS
from thermogate.core.errors import WireError
from thermogate.core.mqtt import Message
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import encode, gate_topic, node_topic

DAY_NS = 86_400 * NS
SETTINGS = LimitSettings(max_nodes=3, max_node_series=4, max_extra_fields=2)


@pytest.fixture
def limits() -> Limits:
    return Limits(SETTINGS, 30.0, draw=lambda: 1.0)


def inspect(limits: Limits, *messages: Message, utc_ns: int = NOW_NS) -> None:
    for one in messages:
        limits.inspect(check(one), utc_ns)


def of(*points, node="n1") -> Message:
    return telemetry(message(*points), node)


def test_no_name_of_the_schema_has_a_digit():
    """`layout.signature` does not see digits."""
    names = [field.name for measurement in MEASUREMENTS.values() for field in measurement.fields]
    assert [name for name in names if any(c.isdigit() for c in name)] == []


def test_devices_beyond_the_bound_are_refused_and_known_ones_go_on(limits):
    for device in "0123":
        inspect(limits, of(sample(device=device)))
    with pytest.raises(WireError, match="n1 has 5 devices and models, over the 4 of"):
        inspect(limits, of(sample(device="4")))
    inspect(limits, of(*(sample(device=device) for device in "0123")))
    inspect(limits, of(sample(device="4", node="n2"), node="n2"))


@pytest.mark.parametrize("invented", [{"model": "A"}, {"origin": "replay"}, {"kind": "cpu"}, {"device": "x"}])
def test_every_tag_and_measurement_makes_a_series(limits, invented):
    inspect(limits, of(*(sample(device=device) for device in "0123")))
    with pytest.raises(WireError, match="max_node_series"):
        inspect(limits, of(sample(**invented)))


def test_events_and_inventories_make_series_too(limits):
    for device in "0123":
        inspect(limits, event_message(event(device=device)))
    with pytest.raises(WireError, match="max_node_series"):
        inspect(limits, event_message(event(device="4")))
    devices = [{"kind": "gpu", "device": str(n), "model": "m"} for n in range(5)]
    many = msgspec.convert(msgspec.to_builtins(status()) | {"devices": devices}, type(status()))
    with pytest.raises(WireError, match="max_node_series"):
        inspect(limits, received(node_topic("n1", "status"), encode(many)))


def test_one_node_too_many_is_refused_and_the_others_go_on(limits):
    for node in ("n1", "n2", "n3"):
        inspect(limits, of(sample(node=node), node=node))
    with pytest.raises(WireError, match="n4 is one more, over the 3 of"):
        inspect(limits, of(sample(node="n4"), node="n4"))
    inspect(limits, of(sample(node="n3"), node="n3"))


def test_a_node_that_was_silent_for_a_day_makes_room(limits):
    for node in ("n1", "n2", "n3"):
        inspect(limits, of(sample(node=node), node=node))
    later_ns = NOW_NS + 2 * DAY_NS
    inspect(limits, of(sample(-2 * 86_400, node="n4"), node="n4"), utc_ns=later_ns)
    assert len(limits) == 1


def test_targets_of_decisions_are_bounded(limits):
    def deciding(target):
        return received(gate_topic("node", target), encode(decision(1, target=target)))

    inspect(limits, *(deciding(f"n{number}") for number in (1, 2, 3, 1)))
    with pytest.raises(WireError, match="node n4 is one more target"):
        inspect(limits, deciding("n4"))
    inspect(limits, deciding("n4"), utc_ns=NOW_NS + 2 * DAY_NS)  # the jobs of the day before are over


def test_unknown_fields_are_bounded_in_the_fleet_and_known_ones_never(limits):
    inspect(limits, of(sample(new_a_w=1)), of(sample(node="n2", new_b2_w=1), node="n2"))
    inspect(limits, of(sample(new_a_w=2, new_b2_w=3, temp_c=60)))
    with pytest.raises(WireError, match="gpu field new_c is one more unknown field, over the 2 of"):
        inspect(limits, of(sample(new_c=1)))
    inspect(limits, of(sample(kind="cpu", device="0", new_c=1)))  # of another measurement


@pytest.mark.parametrize(("good", "bad"), [("temp_c=60.0", "temp_c=60i"), ("collapse=1i", "collapse=1")])
def test_field_of_another_type_is_refused_also_after_ones_that_were_right(limits, good, bad):
    line = f"gpu,node=n1,device=0 util_ratio=0.5,{{}} {NOW_NS}\n"
    header = b"# thermogate/1 node=n1 spool=3f2a seq=1\n"
    inspect(limits, *[telemetry(header + line.format(good).encode())] * 3)
    with pytest.raises(WireError, match="has to be"):
        inspect(limits, telemetry(header + line.format(bad).encode()))


@pytest.mark.parametrize("ack", [False, True])
def test_a_stamp_far_ahead_or_past_retention_is_refused_on_every_line(limits, ack):
    day_s = 86_400
    inspect(limits, *[telemetry(message(sample(1, device="0"), sample(1, device="1"), ack=ack))] * 3)
    for age_s, said in ((-1.1 * day_s, "ahead of this clock"), (31 * day_s, "31.0 days old")):
        for ages_s in ((age_s, 0), (0, age_s)):
            lines = [sample(one_s, device=device) for one_s, device in zip(ages_s, "01", strict=True)]
            with pytest.raises(WireError, match=said):
                inspect(limits, telemetry(message(*lines, ack=ack)))


def test_stamps_of_events_decisions_and_statuses_are_looked_at(limits):
    ahead_s = -1.1 * 86_400
    for one in (
        event_message(event(ahead_s)),
        received(node_topic("n1", "status"), encode(status(age_s=ahead_s))),
        received(gate_topic("node", "n1"), encode(decision(1, ahead_s))),
    ):
        with pytest.raises(WireError, match="ahead of this clock"):
            inspect(limits, one)
    old_s = 40 * 86_400
    with pytest.raises(WireError, match="days old"):
        inspect(limits, event_message(event(old_s)))
    inspect(limits, received(node_topic("n1", "status"), encode(status(age_s=old_s))))


def test_a_node_that_hid_names_behind_a_known_layout_is_looked_at_from_then_on():
    draws = iter([0.0])
    limits = Limits(SETTINGS, 30.0, draw=lambda: next(draws, 1.0))

    def hiding(digits):
        return of(sample(**{f"temp{digit}_c": 1 for digit in digits}))

    inspect(limits, of(sample(temp_c=1)), *[of(sample(temp_c=2))] * 2)
    for number in range(1, 4):
        with pytest.raises(WireError, match="max_extra_fields") if number == 3 else _nothing():
            draws = iter([0.0])
            inspect(limits, hiding([number]))
    draws = iter(())
    with pytest.raises(WireError, match="max_extra_fields"):
        inspect(limits, hiding([4]))


def _nothing():
    import contextlib

    return contextlib.nullcontext()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rng=st.randoms(use_true_random=True), count=st.integers(1, 40))
def test_what_a_known_layout_hides_is_never_more_than_digits_in_names(rng, count):
    """One looks at every message line by line, the other only where the layout is new."""
    given_limits = LimitSettings(max_node_series=6, max_extra_fields=2)
    thorough, quick = (Limits(given_limits, 30.0, draw=lambda draw=draw: draw) for draw in (0.0, 1.0))
    base = sound(rng)
    for _ in range(count):
        topic, payload = rng.choice((mutated(rng), base, base))
        try:
            checked = check(received(topic, payload))
        except WireError:
            continue
        said = [refusal(limits, checked) for limits in (thorough, quick)]
        assert said[0] == said[1] or "unknown field" in said[0] + said[1]


def refusal(limits, checked):
    try:
        limits.inspect(checked, NOW_NS)
    except WireError as err:
        return str(err)
    return ""
