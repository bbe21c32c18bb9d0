"""Signals and what was applied, in the form in which stores take them."""

from typing import Any

import msgspec
import pytest

from tests.contract.making import NOW_NS
from tests.unit.collector.fake_broker import received
from thermogate.collector.checking import check
from thermogate.collector.config import LimitSettings
from thermogate.collector.limits import Limits
from thermogate.collector.said import SignalLines
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.errors import WireError
from thermogate.core.gate_messages import Applied, DeviceSignals, Report, Signals
from thermogate.core.model import Event
from thermogate.core.wire import (
    applied_topic,
    check_telemetry,
    encode,
    parse_points,
    request_topic,
    signal_topic,
)

SIGNALS = Signals(
    node="n1",
    time_ns=NOW_NS,
    devices=(
        DeviceSignals(device="gpu0", volatility=1.5, overload=1e-7, repair_severity=-0.25),
        DeviceSignals(device="gpu1"),
        DeviceSignals(device="cpu0", incoherence=2.0),
    ),
)
APPLIED = Applied(
    scheduler="slurm",
    host="head",
    kind="node",
    target="n1",
    decision="01ARZ3NDEKTSV4RRFFQ69G5FAV",
    seq=1_763_712_000_123,
    state=State.REPAIR,
    mode="enforce",
    outcome="done",
    time_ns=NOW_NS,
    text="n1 is drained",
    actions=("scontrol update NodeName=n1 State=DRAIN",),
)


def signals(**changes: Any) -> SignalLines:
    content = check(
        received(signal_topic("node", "n1"), encode(msgspec.structs.replace(SIGNALS, **changes)))
    ).content
    assert isinstance(content, SignalLines)
    return content


def applied(topic: str = applied_topic("node", "n1"), **changes: Any) -> Event:
    content = check(received(topic, encode(msgspec.structs.replace(APPLIED, **changes)))).content
    assert isinstance(content, Event)
    return content


def test_signals_become_a_line_a_device_without_what_is_not_known():
    points = parse_points(signals(origin="replay").payload)
    assert [(p.measurement, p.node, p.device, p.origin, p.time_ns) for p in points] == [
        ("signal", "n1", "gpu0", "replay", NOW_NS),
        ("signal", "n1", "cpu0", "replay", NOW_NS),
    ]
    assert [p.fields for p in points] == [
        {"volatility": 1.5, "overload": 1e-7, "repair_severity": -0.25},
        {"incoherence": 2.0},
    ]


def test_signals_of_which_nothing_is_known_are_no_line():
    assert signals(devices=(DeviceSignals(device="gpu0"),)).payload == b""


def test_a_node_cannot_send_signals_as_telemetry():
    with pytest.raises(WireError):
        check_telemetry("n1", signals().payload)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node": "n2"}, "name node 'n2' on the topic of node n1"),
        ({"time_ns": -1}, "is no time"),
        ({"time_ns": 2**63}, "is no time"),
        ({"devices": (DeviceSignals(device="0"),)}, "device '0' is not a kind and a number"),
        ({"devices": (DeviceSignals(device="gpu0 x=1"),)}, "is not a kind and a number"),
        ({"devices": (DeviceSignals(device="gpu0"), DeviceSignals(device="gpu0"))}, "twice"),
        ({"devices": (DeviceSignals(device="gpu0", overload=1.7e308),)}, "overload of gpu0 is 1.7e"),
    ],
)
def test_signals_that_are_not_what_their_topic_says_are_refused(changes, reason):
    with pytest.raises(WireError, match=reason):
        signals(**changes)


@pytest.mark.parametrize("number", [b"NaN", b"1e999", b"-1e999", b'"1"'])
def test_a_signal_that_is_no_finite_number_is_refused(number):
    payload = encode(SIGNALS).replace(b"1.5", number)
    with pytest.raises(WireError):
        check(received(signal_topic("node", "n1"), payload))


def test_signals_of_another_kind_of_target_and_reports_of_trainers_are_not_stored():
    report = Report(kind="job", target="j1", time_ns=NOW_NS, step=1, metrics={"loss": 1.0})
    for topic, payload in (
        (signal_topic("job", "n1"), encode(SIGNALS)),
        (request_topic("job", "j1"), encode(report)),
    ):
        with pytest.raises(WireError, match="is not one that is stored"):
            check(received(topic, payload))


def test_signals_keep_to_the_bounds_of_their_node():
    limits = Limits(LimitSettings(max_nodes=1, max_node_series=2), 30.0)

    def inspect(*devices: str, node: str = "n1", time_ns: int = NOW_NS) -> None:
        said = Signals(
            node=node, time_ns=time_ns, devices=tuple(DeviceSignals(device=d, overload=0.1) for d in devices)
        )
        limits.inspect(check(received(signal_topic("node", node), encode(said))), NOW_NS)

    inspect("gpu0", "gpu1")
    inspect("gpu1", "gpu0")
    with pytest.raises(WireError, match="max_node_series"):
        inspect("gpu2")
    with pytest.raises(WireError, match="max_nodes"):
        inspect("gpu0", node="n2")
    with pytest.raises(WireError, match="max_future_s"):
        inspect("gpu0", time_ns=NOW_NS + 2 * 86_400 * NS)
    with pytest.raises(WireError, match="raw_days"):
        inspect("gpu0", time_ns=NOW_NS - 31 * 86_400 * NS)


def test_what_was_applied_becomes_an_event_of_its_node():
    event = applied()
    assert (event.node, event.event, event.device_kind, event.device) == ("n1", "gate_applied", "", "")
    assert event.text == "n1 is drained"
    assert event.data == {
        "kind": "node",
        "target": "n1",
        "scheduler": "slurm",
        "host": "head",
        "decision": APPLIED.decision,
        "seq": APPLIED.seq,
        "state": "REPAIR",
        "mode": "enforce",
        "outcome": "done",
        "actions": "scontrol update NodeName=n1 State=DRAIN",
    }


def test_what_was_applied_to_a_job_is_an_event_of_the_host_that_did_it():
    event = applied(applied_topic("job", "j1"), kind="job", target="j1")
    assert (event.node, event.data["kind"], event.data["target"]) == ("head", "job", "j1")


def test_what_is_said_at_one_instant_about_several_targets_is_kept_apart_and_said_again_is_the_same():
    jobs = [applied(applied_topic("job", name), kind="job", target=name) for name in ("j1", "j2", "j1")]
    assert len({event.time_ns for event in jobs}) == 2
    assert {event.time_ns // 1_000_000 for event in jobs} == {NOW_NS // 1_000_000}


def test_long_texts_are_cut_so_that_no_event_is_longer_than_a_node_may_send():
    event = applied(text="x" * 5000, actions=("y" * 3000, "z"))
    assert len(encode(event)) < 4096
    assert event.text.endswith("…")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": "n2"}, "on the topic of"),
        ({"kind": "job"}, "on the topic of"),
        ({"host": "a b"}, "host 'a b' is no name"),
        ({"scheduler": ""}, "scheduler '' is no name"),
        ({"decision": "a/b"}, "decision 'a/b' is no name"),
        ({"seq": -1}, "seq -1 is out of range"),
        ({"time_ns": 2**63}, "is no time"),
    ],
)
def test_applied_that_is_not_what_its_topic_says_is_refused(changes, reason):
    with pytest.raises(WireError, match=reason):
        applied(**changes)
