import msgspec
from msgspec.structs import replace

from tests.signed import DECISION, KEY
from thermogate.analytics.audit.records import Record, input_digest, of_entry
from thermogate.analytics.audit.replay import as_json, replay
from thermogate.analytics.config import AnalyticsSettings, ThermalSettings
from thermogate.core.decision import GateDecision, State
from thermogate.core.errors import WireError


def recompute(inputs: bytes, settings: AnalyticsSettings | None = None) -> GateDecision:
    """A fake gate: inputs are a temperature, HOLD from 85 C on or as the settings have it."""
    try:
        temp_c = msgspec.json.decode(inputs, type=float)
    except msgspec.MsgspecError as err:
        raise WireError(f"no temperature: {err}") from err
    limit_c = 85.0 if settings is None else settings.thermal.heat_time_s
    state = State.HOLD if temp_c >= limit_c else State.RUN
    return replace(DECISION, state=state, inputs=input_digest(inputs))


def record(temp: bytes, **changes) -> Record:
    decision = replace(DECISION, **{"inputs": input_digest(temp), **changes})
    return of_entry(7, 0, "", (KEY.seal(decision)[1], temp))[0]


def test_the_same_inputs_make_the_same_decision_but_for_the_signature():
    again = replay(record(b"90"), recompute)
    assert (again.differences, again.problem) == ((), "")
    assert again.decision.signature
    assert not again.again.signature


def test_each_field_that_differs_is_named():
    again = replay(record(b"80", why="another"), recompute)
    assert [one.field for one in again.differences] == ["state", "why"]
    assert (again.differences[0].was, again.differences[0].would_be) == (State.HOLD, State.RUN)
    assert as_json(again)["differences"][0] == {"field": "state", "was": "HOLD", "would_be": "RUN"}


def test_other_thresholds_are_asked_what_they_would_have_done():
    settings = AnalyticsSettings(thermal=ThermalSettings(heat_time_s=95.0))
    again = replay(record(b"90", why="the words differ, and do not count"), recompute, settings)
    assert [tuple(one) for one in again.differences] == [("state", State.HOLD, State.RUN)]
    assert replay(record(b"99", why="others"), recompute, settings).differences == ()


def test_what_cannot_be_made_again_says_why():
    assert replay(record(b"hot"), recompute).problem.startswith("no temperature")
    damaged = replace(record(b"90"), inputs="AAAA")
    assert replay(damaged, recompute).problem.startswith("inputs cannot be unpacked")
    assert replay(replace(record(b"90"), decision="{}"), recompute).problem.startswith(
        "not a valid GateDecision"
    )


def test_inputs_of_another_decision_are_named():
    other = replay(record(b"90", inputs=input_digest(b"91")), recompute)
    assert [one.field for one in other.differences] == ["inputs"]
