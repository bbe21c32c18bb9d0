import pytest

from tests.unit.analytics.making import NODE, START_NS, event
from thermogate.analytics.subscriber import TOPICS, Telemetry, understand
from thermogate.core.decision import Cjp, GateDecision, State
from thermogate.core.errors import WireError
from thermogate.core.gate_messages import Override
from thermogate.core.model import Status
from thermogate.core.mqtt import Message
from thermogate.core.wire import encode, format_header, format_line, gate_topic, node_topic, override_topic

DECISION = GateDecision(
    id="0",
    seq=1,
    kind="node",
    target=NODE,
    state=State.HOLD,
    pace=0.5,
    mode="shadow",
    issued_at_ns=START_NS,
    expires_at_ns=START_NS + 1,
    policy="thermal",
    policy_version=1,
    why="",
    because=(),
    cjp=Cjp("", "", ""),
    inputs="",
)
LINE = format_line("gpu", NODE, "0", "", None, {"temp_c": 60.0}, START_NS)
TELEMETRY = format_header(NODE, "ab", 1) + LINE.encode()


def message(topic, payload):
    return Message(topic, payload, False, 1, 1, 1)


def test_it_listens_to_nodes_to_operators_and_to_its_own_decisions():
    assert set(TOPICS) == {
        "thermogate/v1/node/+/telemetry",
        "thermogate/v1/node/+/event",
        "thermogate/v1/node/+/status",
        "thermogate/v1/gate/node/+",
        "thermogate/v1/gate/job/+",
        "thermogate/v1/override/+/+",
    }


def test_an_operators_word_is_about_its_topic_and_an_empty_topic_says_nothing():
    word = Override(
        id="w",
        kind="group",
        target="rack1",
        state=State.HOLD,
        issued_at_ns=1,
        from_ns=1,
        until_ns=2,
        why="leak",
        by="ada",
    )
    assert understand(message(override_topic("group", "rack1"), encode(word))) == word
    assert understand(message(override_topic("group", "rack1"), b"")) is None
    with pytest.raises(WireError):
        understand(message(override_topic("group", "rack2"), encode(word)))


def test_each_topic_is_understood_as_what_it_says():
    said = understand(message(node_topic(NODE, "telemetry"), TELEMETRY))
    assert isinstance(said, Telemetry)
    assert (said.node, said.points[0].fields) == (NODE, {"temp_c": 60.0})
    status = Status(node=NODE, online=True, time_ns=1)
    assert understand(message(node_topic(NODE, "status"), encode(status))) == status
    lost = event(1, "gpu_lost")
    assert understand(message(node_topic(NODE, "event"), encode(lost))) == lost
    assert understand(message(gate_topic("node", NODE), encode(DECISION))) == DECISION


def test_a_decision_that_was_cleared_says_nothing():
    assert understand(message(gate_topic("node", NODE), b"")) is None


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (node_topic(NODE, "telemetry"), b"\xff garbage"),
        (node_topic("other", "telemetry"), TELEMETRY),
        (node_topic(NODE, "event"), b"{}"),
        (node_topic("other", "event"), encode(event(1, "gpu_lost"))),
        (node_topic(NODE, "status"), b"[]"),
        (node_topic("other", "status"), encode(Status(node=NODE, online=True, time_ns=1))),
        (gate_topic("node", NODE), b"null"),
        (gate_topic("node", "other"), encode(DECISION)),
        (gate_topic("job", NODE), encode(DECISION)),
        (node_topic(NODE, "ack"), b"{}"),
        ("thermogate/v1/other/a/b", b""),
        ("elsewhere", b""),
    ],
)
def test_what_is_malformed_or_speaks_of_another_is_refused(topic, payload):
    with pytest.raises(WireError):
        understand(message(topic, payload))
