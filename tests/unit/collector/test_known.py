"""A payload that is known by its pattern is told nothing else than one that is looked at byte by byte."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.making import NOW_NS, message, sample
from tests.fakes import FakeClock
from tests.mutations import mutated, sound
from tests.unit.collector.fake_broker import received, telemetry
from thermogate.collector.checking import Checked, check
from thermogate.collector.config import CollectorSettings, LimitSettings
from thermogate.collector.guard import Guard
from thermogate.collector.known import Known
from thermogate.collector.limits import Limits
from thermogate.core.clock import NS
from thermogate.core.errors import WireError
from thermogate.core.mqtt import Message

PAYLOAD = message(
    sample(1.0, temp_c=61.5, power_w=-3.25, collapse=0),
    sample(1.0, device="1", temp_c=1e-7, power_w=2.0),
    seq=7,
)


def knowing(*payloads: bytes, node: str = "n1") -> Known:
    known = Known()
    for number, payload in enumerate(payloads):
        for _ in range(8):
            known.learn(node, payload, 100.0 * number)
    return known


def test_payload_as_one_before_it_is_known_whatever_its_numbers() -> None:
    known = knowing(PAYLOAD)
    told = known.find("n1", PAYLOAD.replace(b"61.5", b"7.0").replace(b"seq=7", b"seq=12345 ack"))
    assert told is not None
    assert (told.spool, told.seq, told.ack) == ("3f2a", 12345, True)
    assert told.time_ns == NOW_NS - NS


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"# thermogate/1 node=n1", b"# thermogate/1 node=n2"),
        (b"gpu,node=n1,device=1", b"gpu,node=n2,device=1"),
        (b"device=1", b"device=2"),
        (b"temp_c", b"temp_d"),
        (b"61.5", b"61i"),
        (b"61.5", b"61.5.5"),
        (b"61.5", b".5"),
        (b"61.5", b"61.5e-9"),
        (b"61.5", b"6.5e308"),
        (b"61.5", b"61.5,evil=1.0"),
        (b"61.5", b"61.5 1\ngpu,node=n1 evil=1.0"),
        (b"\ngpu", b"\n\ngpu"),
        (b"collapse=0i", b"collapse=0.0"),
        (b"%d\n" % (NOW_NS - NS), b"%d\n" % (NOW_NS + NS)),
        (b"%d\n" % (NOW_NS - NS), b"9%d\n" % (NOW_NS - NS)),
    ],
)
def test_payload_that_is_not_quite_as_one_before_it_is_not_known(old: bytes, new: bytes) -> None:
    assert old in PAYLOAD
    assert knowing(PAYLOAD).find("n1", PAYLOAD.replace(old, new, 1)) is None
    assert knowing(PAYLOAD).find("n1", PAYLOAD + b"gpu,node=n1 evil=1.0 1\n") is None


def test_what_one_node_may_send_is_not_known_of_another() -> None:
    other = PAYLOAD.replace(b"node=n1", b"node=n2")
    known = knowing(PAYLOAD)
    assert known.find("n2", other) is None
    assert known.find("n1", other) is None
    for _ in range(4):
        known.learn("n2", other, 0.0)
    assert known.find("n2", other) is not None
    assert len(known) == 1, "nodes that are alike share a pattern"


def test_node_that_invents_layouts_makes_few_patterns_and_the_others_are_known_again() -> None:
    known = knowing(PAYLOAD)
    for number in range(2000):
        invented = message(sample(**{f"field_{number:x}_": 1.5}))
        known.learn("evil", invented, 1000.0 + number / 10)
    assert len(known) <= 64
    for _ in range(8):
        known.learn("n1", PAYLOAD, 5000.0)
    assert known.find("n1", PAYLOAD) is not None


SETTINGS = CollectorSettings(limits=LimitSettings(max_node_series=6, max_extra_fields=2))


def said(check_one: object, one: Message) -> object:
    try:
        checked = check_one(one)  # type: ignore[operator]
    except WireError as err:
        return str(err)
    assert isinstance(checked, Checked)
    return msgspec.structs.astuple(checked)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rng=st.randoms(use_true_random=True), count=st.integers(1, 60))
def test_guard_that_knows_says_of_every_message_what_one_says_that_looks_at_every_byte(rng, count) -> None:
    clock = FakeClock(NOW_NS)
    guard, thorough = Guard(SETTINGS, clock), Limits(SETTINGS.limits, 30.0, draw=lambda: 0.0)

    def look(one: Message) -> Checked:
        checked = check(one)
        thorough.inspect(checked, clock.utc_ns())
        return checked

    topic, payload = sound(rng)
    for number in range(count):
        clock.pass_time(0.001)
        told = (topic, payload) if number < 8 else rng.choice((mutated(rng), (topic, payload), sound(rng)))
        one = received(*told)
        mine, its = said(guard.check, one), said(look, one)
        assert mine == its or "unknown field" in str((mine, its))


def test_stamp_of_a_known_payload_is_looked_at() -> None:
    clock = FakeClock(NOW_NS)
    guard = Guard(SETTINGS, clock)
    for _ in range(8):
        guard.check(telemetry(PAYLOAD))
    assert len(guard._known) == 1
    clock.jump_utc(40 * 86_400)
    with pytest.raises(WireError, match="days old"):
        guard.check(telemetry(PAYLOAD))
