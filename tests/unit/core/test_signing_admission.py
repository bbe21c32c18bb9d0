import json

import pytest
from msgspec.structs import replace

from tests.signed import DECISION, KEY, NOW_NS, TRUSTED
from thermogate.core import wire
from thermogate.core.admission import MOST_TARGETS, Admission
from thermogate.core.clock import NS
from thermogate.core.errors import SignatureError, WireError

TOPIC = wire.gate_topic("node", "n17")


def payload(**changes) -> bytes:
    return KEY.seal(replace(DECISION, **changes))[1]


def refusal(gate: Admission, body: bytes, topic: str = TOPIC, now_ns: int = NOW_NS) -> str:
    with pytest.raises(SignatureError) as caught:
        gate.admit(topic, body, now_ns)
    return caught.value.reason


def test_a_decision_of_now_is_let_in_and_again_after_a_new_connection():
    gate = Admission(TRUSTED)
    body = payload()
    assert gate.admit(TOPIC, body, NOW_NS).why == DECISION.why
    assert gate.admit(TOPIC, body, NOW_NS + 60 * NS).seq == 7


def test_what_is_older_or_another_of_the_same_number_is_a_replay():
    gate = Admission(TRUSTED)
    gate.admit(TOPIC, payload(seq=9), NOW_NS)
    assert refusal(gate, payload(seq=8)) == "replayed"
    assert refusal(gate, payload(seq=9, id="01M7ZZARZZXZ9N2XGA5SM7PTVX")) == "replayed"
    assert gate.admit(TOPIC, payload(seq=10), NOW_NS).seq == 10
    other = wire.gate_topic("node", "n18")
    assert gate.admit(other, payload(seq=1, target="n18"), NOW_NS).seq == 1


def test_a_restart_with_its_memory_does_not_open_the_door():
    gate = Admission(TRUSTED)
    gate.admit(TOPIC, payload(seq=9), NOW_NS)
    restarted = Admission(TRUSTED, seqs=json.loads(json.dumps(gate.seqs)))
    assert refusal(restarted, payload(seq=8)) == "replayed"
    assert restarted.admit(TOPIC, payload(seq=9), NOW_NS).seq == 9


def test_an_expired_decision_is_refused_and_remembered():
    gate = Admission(TRUSTED)
    late_ns = DECISION.expires_at_ns
    assert refusal(gate, payload(seq=9), now_ns=late_ns) == "expired"
    assert refusal(gate, payload(seq=8, expires_at_ns=late_ns * 2), now_ns=late_ns) == "replayed"


def test_one_from_the_future_is_refused_and_forgotten():
    gate = Admission(TRUSTED, max_skew_s=5)
    ahead = {"seq": 99, "issued_at_ns": NOW_NS + 6 * NS}
    assert refusal(gate, payload(**ahead)) == "future"
    assert gate.admit(TOPIC, payload(), NOW_NS).seq == 7
    assert gate.admit(TOPIC, payload(**ahead), NOW_NS + 1 * NS).seq == 99


def test_a_decision_about_another_is_refused():
    gate = Admission(TRUSTED)
    assert refusal(gate, payload(target="n18")) == "misplaced"
    assert refusal(gate, payload(kind="job")) == "misplaced"
    assert refusal(gate, payload(), topic=wire.override_topic("node", "n17")) == "misplaced"


def test_an_emptied_topic_releases_nothing():
    assert refusal(Admission(TRUSTED), b"") == "unsigned"
    assert refusal(Admission(None), b"") == "unsigned"


def test_what_is_no_decision_is_malformed():
    for body in (b"{}", b"\xff", b"[" * 9000):
        with pytest.raises(WireError):
            Admission(TRUSTED).admit(TOPIC, body, NOW_NS)
    with pytest.raises(WireError, match="topic"):
        Admission(TRUSTED).admit("somewhere/else", payload(), NOW_NS)


def test_nobody_fills_the_memory_with_what_is_not_signed():
    gate = Admission(TRUSTED)
    assert refusal(gate, wire.encode(DECISION)) == "unsigned"
    assert gate.seqs == {}


def test_without_verification_order_time_and_place_still_count():
    gate = Admission(None)
    assert gate.admit(TOPIC, wire.encode(DECISION), NOW_NS).issuer == ""
    assert refusal(gate, wire.encode(replace(DECISION, seq=6))) == "replayed"
    assert refusal(gate, wire.encode(replace(DECISION, seq=8)), now_ns=DECISION.expires_at_ns) == "expired"
    assert refusal(gate, wire.encode(replace(DECISION, target="n18"))) == "misplaced"


def test_what_is_remembered_is_bounded_and_the_longest_unheard_goes():
    known = {f"node/x{number}": [1, "x"] for number in range(MOST_TARGETS)}
    gate = Admission(None, seqs=known)
    gate.admit(wire.gate_topic("node", "x0"), wire.encode(replace(DECISION, target="x0")), NOW_NS)
    gate.admit(TOPIC, wire.encode(DECISION), NOW_NS)
    assert len(gate.seqs) == MOST_TARGETS
    assert "node/x1" not in gate.seqs
    assert list(gate.seqs)[-2:] == ["node/x0", "node/n17"]
