"""Why a target is held: what is in force, since when, what it rests on and what was done."""

import msgspec
import pytest

from tests.fake_fleet import decision
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import serving
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, Reason, State, new_ulid
from thermogate.core.errors import ConfigError
from thermogate.core.model import DeviceInfo, Event, Status
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.explain import Explanation, Spell, parse_target, spells
from thermogate.dashboard.settings import DashboardSettings

MINUTE_NS = 60 * NS
BOUNDS = {"overload": 3.0}


def made(ago_min: float, state: State = State.HOLD, target: str = "n1", **more: object) -> GateDecision:
    """A decision of so long ago that is in force for two minutes."""
    issued_ns = NOW_NS - round(ago_min * MINUTE_NS)
    times = {"issued_at_ns": issued_ns, "expires_at_ns": issued_ns + 2 * MINUTE_NS}
    return decision(target, state, "too hot", now_ns=issued_ns, id_=new_ulid(issued_ns), **{**times, **more})


def applied(ago_min: float, target: str = "n1", kind: str = "node", node: str = "n1") -> Event:
    data = {"kind": kind, "target": target, "scheduler": "slurm", "outcome": "done"}
    time_ns = NOW_NS - round(ago_min * MINUTE_NS)
    return Event(node=node, event="gate_applied", time_ns=time_ns, text=f"{target} is drained", data=data)


def point(kind: str, device: str, ago_min: float, node: str = "n1", **fields: float) -> Point:
    return Point(kind, node, device, "", "", fields, NOW_NS - round(ago_min * MINUTE_NS))


CLOCK = FakeClock()
NOW_NS = CLOCK.utc_ns()


def answers(query: FakeQuery) -> Answers:
    return Answers(query, CLOCK, DashboardSettings(), bounds=BOUNDS)


def fleet(*decisions: GateDecision) -> FakeQuery:
    """Node n1 with two GPUs and a CPU, half an hour of samples and signals."""
    query = FakeQuery()
    infos = tuple(
        DeviceInfo(kind=k, device=d, model="") for k, d in (("gpu", "0"), ("gpu", "1"), ("cpu", "0"))
    )
    query.status["n1"] = Status(node="n1", online=True, time_ns=NOW_NS, devices=infos)
    for ago in (20, 10, 1):
        for number in "01":
            query.add([point("gpu", number, ago, temp_c=60.0 + ago, rle=0.5)])
            query.add([point("signal", f"gpu{number}", ago, overload=0.1 * ago, volatility=1.0)])
        query.add([point("cpu", "0", ago, temp_c=40.0)])
    query.decision_list += decisions
    return query


@pytest.mark.parametrize("text", ["gate/node/n17", "node/n17", "n17"])
def test_a_target_is_named_as_on_the_wire_or_shorter(text):
    assert parse_target(text) == ("node", "n17")


@pytest.mark.parametrize("text", ["", "rack/r1", "node/", "node/a b", "gate/node/x/y", "job/../x"])
def test_what_is_no_target_is_refused(text):
    with pytest.raises(ConfigError, match="target"):
        parse_target(text)


async def test_a_node_about_which_nothing_was_decided_is_told_with_its_signals():
    answer = await answers(fleet()).explain("node/n1")
    assert (answer.known, answer.in_force, answer.decision, answer.spells) == (True, False, None, ())
    assert {(s.device.kind, s.device.device) for s in answer.series} == {("gpu", "0"), ("gpu", "1")}
    overload = next(s for s in answer.series if s.field == "overload")
    assert [p.mean for p in overload.points] == pytest.approx([2.0, 1.0, 0.1])
    assert answer.bounds == BOUNDS


async def test_a_name_that_nobody_has_is_not_known():
    answer = await answers(fleet()).explain("node/n99")
    assert (answer.known, answer.decision, answer.series) == (False, None, ())


async def test_what_is_renewed_is_one_spell_and_what_expired_in_between_is_two():
    held = [made(1), made(2), made(3)]
    gone = made(60, pace=0.5)
    again = made(59, pace=0.5)
    before = [made(90, pace=0.5), made(91, State.RUN, pace=1.0)]
    found = spells([*held, again, gone, *before])
    assert found == [
        Spell(held[0], held[2].issued_at_ns, held[0].expires_at_ns),
        Spell(again, gone.issued_at_ns, again.expires_at_ns),
        Spell(before[0], before[0].issued_at_ns, before[0].expires_at_ns),
        Spell(before[1], before[1].issued_at_ns, before[0].issued_at_ns),
    ]


async def test_it_is_told_what_is_in_force_and_what_was_done_about_it():
    query = fleet(made(1), made(2), made(2, kind="job"), made(1, target="n2"))
    query.event_list += [applied(1.5), applied(1, "n1", "job"), applied(1, "n2", node="n2")]
    answer = await answers(query).explain("node/n1")
    assert answer.in_force
    assert answer.decision == query.decision_list[0]
    assert [event.text for event in answer.applied] == ["n1 is drained"]
    assert len(answer.spells) == 1
    assert answer.spells[0].began_ns == NOW_NS - 2 * MINUTE_NS


async def test_an_expired_decision_is_told_and_said_to_be_so():
    for ago in (3, 3 * 24 * 60):
        answer = await answers(fleet(made(ago))).explain("node/n1")
        assert answer.decision is not None
        assert not answer.in_force


async def test_it_is_told_as_it_was_at_a_time_and_just_after_a_decision():
    first, second = made(30), made(10, State.REPAIR, pace=0.0)
    asked = answers(fleet(first, second))
    then = await asked.explain("node/n1", at_ns=NOW_NS - 29 * MINUTE_NS)
    assert (then.decision, then.in_force) == (first, True)
    after = await asked.explain("node/n1", decision=second.id)
    assert (after.decision, after.at_ns, after.in_force) == (second, second.issued_at_ns, True)
    assert max(p.time_ns for s in after.series for p in s.points) < second.issued_at_ns


@pytest.mark.parametrize(
    "unknown", ["x", "8" * 26, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"]
)
async def test_an_id_of_no_decision_is_refused(unknown):
    with pytest.raises(ConfigError, match="decision"):
        await answers(fleet(made(1))).explain("node/n1", decision=unknown)


async def test_a_decision_about_another_kind_of_target_is_not_this_one():
    job = made(1, kind="job")
    with pytest.raises(ConfigError, match="none"):
        await answers(fleet(job)).explain("node/n1", decision=job.id)


async def test_of_a_job_the_devices_are_shown_that_its_decision_names():
    because = (
        Reason(metric="util_ratio", value=0.0, threshold=0.1, device="n1/gpu1"),
        Reason(metric="util_ratio", value=0.0, threshold=0.1, device="gpu0"),
        Reason(metric="loss", value=0.0, threshold=0.1),
    )
    answer = await answers(fleet(made(1, kind="job", target="j1", because=because))).explain("job/j1")
    assert {(s.device.node, s.device.device) for s in answer.series} == {("n1", "1")}


async def test_over_http_it_is_the_same_answer():
    query = fleet(made(1))
    query.event_list.append(applied(0.5))
    async with serving(query, CLOCK) as client:
        given = {"target": "gate/node/n1", "device": "gpu0", "span": "1h"}
        async with client.get("/api/v1/explain", params=given) as response:
            assert response.status == 200
            answer = msgspec.json.decode(await response.read(), type=Explanation)
        assert answer.decision == query.decision_list[0]
        assert {s.device.device for s in answer.series} == {"0"}
        for wrong in (
            {},
            {"target": "rack/1"},
            {"target": "n1", "span": "2d"},
            {"target": "n1", "device": "disk0"},
        ):
            async with client.get("/api/v1/explain", params=wrong) as response:
                assert response.status == 400


async def test_signals_are_fields_of_their_device_in_series_and_rankings():
    asked = answers(fleet())
    device = next(s.device for s in (await asked.explain("n1", device="gpu1")).series)
    found = await asked.series(device, ("volatility", "temp_c"), NOW_NS - 30 * MINUTE_NS, NOW_NS, 60 * NS)
    assert [(s.device, s.field) for s in found] == [(device, "volatility"), (device, "temp_c")]
    ranked = await asked.top("gpu", "overload", NOW_NS - 30 * MINUTE_NS, NOW_NS, limit=1)
    assert [(r.device.kind, r.device.device) for r in ranked] == [("gpu", "0")]
    assert await asked.top("cpu", "overload", NOW_NS - 30 * MINUTE_NS, NOW_NS) == []
    with pytest.raises(ConfigError, match="node has no 'overload'"):
        await asked.series(msgspec.structs.replace(device, kind="node"), ("overload",), 0, NOW_NS)
