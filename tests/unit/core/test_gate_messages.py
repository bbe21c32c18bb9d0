import pytest

from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.errors import WireError
from thermogate.core.gate_messages import MOST_SPAN_NS, Override
from thermogate.core.wire import decode, encode

NOW_NS = 1_763_712_000_000_000_000
GIVEN = {
    "id": "01M7ZZARZZXZ9N2XGA5SM7PTVN",
    "kind": "node",
    "target": "n17",
    "state": State.HOLD,
    "issued_at_ns": NOW_NS,
    "from_ns": NOW_NS + MOST_SPAN_NS,
    "until_ns": NOW_NS + 2 * MOST_SPAN_NS,
    "why": "fan is being changed",
    "by": "alice",
}


def test_a_word_may_begin_and_last_as_long_as_the_command_allows():
    word = Override(**GIVEN)
    assert decode(encode(word), Override) == word


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pace": -1.0}, "no share of full power"),
        ({"pace": 9.9}, "no share of full power"),
        ({"from_ns": NOW_NS + MOST_SPAN_NS + NS}, "30 days"),
        ({"until_ns": NOW_NS + 2 * MOST_SPAN_NS + NS}, "30 days"),
        ({"why": "x" * 60_000}, "over 1000 characters"),
    ],
)
def test_what_no_decision_may_say_is_not_taken_from_an_operators_program(changed, said):
    payload = encode(Override(**GIVEN))
    for name, value in changed.items():
        old = encode({name: GIVEN.get(name, 1.0)})[1:-1]
        new = encode({name: value})[1:-1]
        payload = payload.replace(old, new) if old in payload else payload[:-1] + b"," + new + b"}"
    with pytest.raises(WireError, match=said):
        decode(payload, Override)
