"""Which messages may be stored; the telemetry dialect itself is tested with core."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.making import decision, event, message, sample, status
from tests.unit.collector.fake_broker import event_message, received, telemetry
from thermogate.collector.checking import Receipt, check, receipt_of
from thermogate.core.errors import WireError
from thermogate.core.model import DeviceInfo
from thermogate.core.mqtt import Message
from thermogate.core.wire import encode, gate_topic, node_topic

EVENT = event(spool="3f2a", seq=7, ack=True)


def test_telemetry_stays_the_bytes_it_is_and_says_which_record_it_was() -> None:
    payload = message(sample(), seq=12, ack=True)
    checked = check(telemetry(payload))
    assert checked.content is payload
    assert checked.receipt == Receipt("n1", "3f2a", 12, prompt=True)


def test_event_is_decoded_and_says_which_record_it_was() -> None:
    checked = check(event_message(EVENT))
    assert checked.content == EVENT
    assert checked.receipt == Receipt("n1", "3f2a", 7, prompt=True)


def test_event_that_comes_from_no_spool_is_stored_without_a_receipt() -> None:
    checked = check(event_message(event()))
    assert checked.content == event()
    assert checked.receipt is None


def test_status_and_decision_are_decoded() -> None:
    assert check(received(node_topic("n1", "status"), encode(status()))).content == status()
    assert check(received(gate_topic("node", "n1"), encode(decision(1)))).content == decision(1)


def changed(**more: object) -> bytes:
    return encode(msgspec.structs.replace(EVENT, **more))


DEEP = b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
EVENTS = node_topic("n1", "event")
STATUSES = node_topic("n1", "status")


def device(number: str, model: str) -> DeviceInfo:
    return DeviceInfo(kind="gpu", device=number, model=model)


def test_device_whose_model_is_not_known_is_taken() -> None:
    said = status(devices=(device("0", ""), device("", "H100")))
    assert check(received(STATUSES, encode(said))).content == said


def test_longest_event_that_an_agent_sends_fits() -> None:
    name = "x" * 128
    job = f"unit:{name}:{name}"
    more = dict.fromkeys(("manager", "job_id", "user", "step", "qos", "container", "began_ns"), name)
    told = changed(
        text=f"gpu{name}: {job} of {name} ended after 1 s", data={"job": job, "lasted_s": 1.0, **more}
    )
    assert check(received(EVENTS, told)).receipt is not None


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("thermogate/v1/node/n1", b"x", "is not thermogate/v1/FAMILY/NAME/LEAF"),
        (node_topic("n1", "ack"), b"x", "is not one that is stored"),
        (node_topic("n1", "telemetry"), b"gpu,node=n1 temp_c=1 1\n", "header"),
        (node_topic("n2", "telemetry"), message(sample()), "names node n1 on the topic of node n2"),
        (EVENTS, b"", "not a valid Event"),
        (EVENTS, b"\xff", "not a valid Event"),
        (EVENTS, DEEP, "nested too deep"),
        (EVENTS, changed(node="n2"), "event names node 'n2' on the topic of node n1"),
        (EVENTS, changed(device="0,a=b\nc"), "device '0,a=b\\nc' is no name"),
        (EVENTS, changed(time_ns=-1), "time_ns -1 is no time"),
        (EVENTS, changed(time_ns=2**63), "is no time"),
        (EVENTS, changed(event="melted"), "event"),
        (EVENTS, changed(text="x" * 4096), "bytes is over 4096"),
        (EVENTS, changed(data={str(n): 1.0 for n in range(33)}), "event has 33 data, over 32"),
        (node_topic("n1", "status"), encode(status("n2")), "status names node 'n2'"),
        (STATUSES, encode(status(devices=(device("0\x1b[2J", "H100"),))), "device '0\\x1b[2J' is no name"),
        (
            STATUSES,
            encode(status(devices=(device("0", "H\n100"),))),
            "model of device 0 'H\\n100' is no name",
        ),
        (STATUSES, encode(status(period_s=-1e308)), "period_s -1e+308 is out of range"),
        (STATUSES, encode(status(period_s=0.0)), "period_s 0.0 is out of range"),
        (node_topic("n1", "status"), encode(status(age_s=10**10)), "is no time"),
        (gate_topic("node", "n2"), encode(decision(1)), "on the topic of ('node', 'n2')"),
        (gate_topic("job", "n1"), encode(decision(1)), "on the topic of ('job', 'n1')"),
        (gate_topic("node", "n1"), encode(msgspec.structs.replace(decision(1), id="a b")), "id 'a b'"),
        (gate_topic("node", "n1"), encode(decision(2**63)), "seq"),
    ],
)
def test_message_that_is_not_what_its_topic_says_is_refused_with_the_reason(
    topic: str, payload: bytes, reason: str
) -> None:
    with pytest.raises(WireError) as caught:
        check(received(topic, payload))
    assert reason in str(caught.value)


def test_refused_message_still_says_which_record_it_was_so_that_its_node_stops_sending_it() -> None:
    broken = message(sample(), seq=9) + b"nonsense\n"
    assert receipt_of(telemetry(broken)) == Receipt("n1", "3f2a", 9, prompt=False)
    assert receipt_of(received(EVENTS, changed(event="melted"))) == Receipt("n1", "3f2a", 7, prompt=True)


@pytest.mark.parametrize(
    "message",
    [
        telemetry(message(sample()), node="n2"),
        received(EVENTS, changed(node="n2")),
        received(EVENTS, changed(spool="../etc", event="melted")),
        received(EVENTS, changed(seq=-1, event="melted")),
        received(EVENTS, DEEP),
        received(node_topic("n1", "status"), b"x"),
        received("x", b"x"),
    ],
)
def test_nothing_is_acknowledged_in_the_name_of_another_or_to_a_spool_that_cannot_be(
    message: Message,
) -> None:
    assert receipt_of(message) is None


@given(
    st.sampled_from(
        [node_topic("n1", leaf) for leaf in ("telemetry", "event", "status")] + [gate_topic("node", "n1")]
    ),
    st.binary() | st.binary().map(lambda rest: message(sample()) + rest) | st.text().map(str.encode),
)
def test_no_payload_makes_the_check_fail_otherwise(topic: str, payload: bytes) -> None:
    one = received(topic, payload)
    receipt_of(one)
    with contextlib.suppress(WireError):
        check(one)
