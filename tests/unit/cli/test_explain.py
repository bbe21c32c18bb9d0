"""What `thermogate explain` prints for a person at night."""

import asyncio

from tests.fake_fleet import decision
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from thermogate.cli import explain, main
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, GateDecision, Opinion, Reason, State
from thermogate.core.model import DeviceInfo, Event, Status
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.settings import DashboardSettings

CLOCK = FakeClock()
NOW_NS = CLOCK.utc_ns()
HOLD = {
    "because": (
        Reason(metric="temp_c", value=88.04, threshold=85.0, unit="degC", window_s=30, device="gpu1"),
        Reason(metric="overload", value=3.61, threshold=3.0, unit="1", device="gpu1"),
    ),
    "cjp": Cjp("heat rises, load does not", "it would be at its limit in 20 s", "RUN below 80 C for 60 s"),
    "mode": "enforce",
    "pace": 0.7,
    "others": (Opinion(policy="cooling", state=State.REPAIR, pace=0.0, mode="shadow", why="a fan dies"),),
}


def fleet(*decisions: GateDecision, gpus: int = 3) -> FakeQuery:
    query = FakeQuery()
    infos = tuple(DeviceInfo(kind="gpu", device=str(n), model="") for n in range(gpus))
    query.status["n17"] = Status(node="n17", online=True, time_ns=NOW_NS, devices=infos)
    for second in range(1500, 0, -10):
        time_ns = NOW_NS - second * NS
        for n in range(gpus):
            fields = {"temp_c": 60.0 + n + (1500 - second) / 60, "temp_limit_c": 90.0, "rle": 0.5}
            query.add([Point("gpu", "n17", str(n), "", "", fields, time_ns)])
            signal = {"overload": (1500 - second) / 300, "repair_severity": 0.1}
            query.add([Point("signal", "n17", f"gpu{n}", "", "", signal, time_ns)])
    query.decision_list += decisions
    return query


def held(why: str = "gpu1 is too hot", **changes: object) -> GateDecision:
    given = {**HOLD, "policy_version": 2, "issuer": "k1", "signature": "x", **changes}
    return decision("n17", State.HOLD, why, now_ns=NOW_NS - 60 * NS, id_="D1", **given)


def shown(query: FakeQuery, target: str = "node/n17", **options: object) -> str:
    bounds = {"overload": 3.0, "repair_severity": 0.4}
    answers = Answers(query, CLOCK, DashboardSettings(), bounds=bounds)
    return explain.text_of(asyncio.run(answers.explain(target, **options)))


def lines(text: str, *beginnings: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip().startswith(beginnings)]


def test_what_is_in_force_stands_first_with_its_mode_and_until_when():
    text = shown(fleet(held()))
    assert text.startswith("node/n17: HOLD at 70% of full power, enforced: schedulers obey it\n")
    assert "unless renewed (in 4 min)" in text
    assert "decided by thermal version 2; signed by key k1; id D1" in text


def test_a_shadow_decision_says_that_nobody_acts_on_it():
    text = shown(fleet(held(mode="shadow", signature="")))
    assert "SHADOW: nobody acts on it" in text
    assert "\n  work runs; if enforced: start nothing new" in text
    assert "not signed" in text


def test_the_reasons_are_a_table_with_value_threshold_window_and_device():
    rows = lines(shown(fleet(held())), "temp_c", "overload  ")
    assert rows[0].split() == ["temp_c", "88.04", "C", "85", "C", "30", "s", "gpu1"]
    assert rows[1].split() == ["overload", "3.61", "3", "-", "gpu1"]


def test_conflict_justification_path_and_other_policies_are_told():
    text = shown(fleet(held()))
    assert lines(text, "conflict") == ["conflict heat rises, load does not"]
    assert lines(text, "path") == ["path     RUN below 80 C for 60 s"]
    assert lines(text, "cooling") == ["cooling  REPAIR at 0%, shadow: a fan dies"]


def test_the_device_that_is_named_has_a_chart_of_each_signal_with_its_bound():
    text = shown(fleet(held()))
    charts = {line.split()[0]: line for line in text.splitlines() if line.startswith("    ")}
    assert "▁" in charts["overload"]
    assert "█" in charts["overload"]
    assert "over 3 for" in charts["overload"]
    assert charts["repair"].endswith("0.1  bound 0.4")
    assert "  gpu1" in text.splitlines()
    assert "  gpu2" not in text.splitlines()


def test_without_reasons_the_device_nearest_its_limit_is_charted_and_all_have_a_row():
    text = shown(fleet())
    assert "  gpu2" in text.splitlines()
    assert [line.split()[0] for line in lines(text, "gpu0 ", "gpu1 ", "gpu2 ")] == ["gpu0", "gpu1", "gpu2"]


def test_a_device_without_signals_says_so():
    query = fleet()
    query.points = type(query.points)(
        list, {key: one for key, one in query.points.items() if key[0] == "gpu"}
    )
    assert "no signal yet" in shown(query)
    assert "no signal yet" not in shown(fleet())


def test_nothing_decided_means_that_work_runs():
    assert shown(fleet()).startswith("node/n17: nothing has been decided: work runs\n")
    assert shown(FakeQuery(), "job/llama") == "job/llama: nothing has been decided: work runs"


def test_a_node_that_nobody_knows_is_said_to_be_so():
    text = shown(fleet(), "node/n71")
    assert text.splitlines()[0] == "node/n71: nothing has been decided: work runs"
    assert "no node of this name has reported" in text


def test_an_expired_decision_is_no_reason_to_wait():
    text = shown(fleet(held(expires_at_ns=NOW_NS - 10 * NS)))
    assert text.startswith("node/n17: no decision is in force: work runs\n")
    assert "expired 10 s ago" in text
    assert "it was HOLD at 70% of full power, enforced" in text


def test_what_was_decided_before_and_what_schedulers_did_follow():
    before = decision("n17", State.RUN, "has cooled", now_ns=NOW_NS - 3600 * NS, id_="D0", pace=1.0)
    query = fleet(before, held())
    data = {"kind": "node", "target": "n17", "scheduler": "slurm", "host": "head", "outcome": "done"}
    done = Event(node="n17", event="gate_applied", time_ns=NOW_NS - 50 * NS, text="n17 is drained", data=data)
    query.event_list.append(done)
    text = shown(query)
    assert "RUN at full power, shadow, for 5 min (thermal): has cooled" in text.replace("\n           ", " ")
    assert "slurm on head: done: n17 is drained" in text


def test_no_line_is_longer_than_80_columns_however_long_the_texts():
    long = "measured " * 60
    others = tuple(
        Opinion(policy="p" * 40, state=State.HOLD, pace=0.5, mode="shadow", why=long) for _ in range(9)
    )
    text = shown(fleet(held(why=long, others=others, issuer="k" * 60, cjp=Cjp(long, long, long)), gpus=12))
    assert max(map(len, text.splitlines())) <= 80
    assert "and 5 more" in text
    assert "and 4 more devices" in text


def test_texts_from_outside_steer_no_terminal():
    text = shown(fleet(held(why="\x1b[2J hot", issuer="\x1b]0;x", policy="\x1b[31m")))
    assert "\x1b" not in text


def test_a_chart_can_be_shown_where_only_ascii_can(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as plain:
        monkeypatch.setattr("sys.stdout", plain)
        text = shown(fleet(held()))
    assert text.isascii()
    assert "#" in text


def test_a_target_or_span_that_is_none_is_a_configuration_error(capsys):
    assert main.main(["explain", "rack/r1"]) == 78
    assert main.main(["explain", "node/n1", "--span", "long"]) == 78
    assert "kinds are node, job" in capsys.readouterr().err
