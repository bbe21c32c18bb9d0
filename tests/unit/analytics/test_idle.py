"""The idle policy: jobs that hold GPUs and do nothing, those that only seem to, and the way back."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermogate.analytics.config import IdleSettings
from thermogate.analytics.policies import idle
from thermogate.analytics.policies.base import JobObservation, Member, Verdict
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State
from thermogate.core.wire import Point

START_NS = 1_763_712_000 * NS
BUSY = {"util_ratio": 0.97, "power_w": 600.0}
IDLE = {"util_ratio": 0.0, "power_w": 110.0}
SPINNING = {"util_ratio": 1.0, "power_w": 150.0}
STEP_S = 10
Fields = dict[str, float]


class Job:
    """A job of GPUs with a limit of 700 W under the policy, a sample every 10 s."""

    def __init__(self, gpus: int = 2, manager: str = "slurm", **changed: object) -> None:
        self.params = IdleSettings(**changed)  # type: ignore[arg-type]
        self.gpus = gpus
        self.manager = manager
        self.state = idle.initial()
        self.second = 0
        self.verdicts: list[tuple[int, Verdict]] = []

    def run(self, seconds: float, *fields: Fields | None, held: bool = False) -> Verdict:
        """So long, with each GPU like this (the last for the rest); None has no sample."""
        for _ in range(round(seconds / STEP_S)):
            seen = self.seen([fields[min(number, len(fields) - 1)] for number in range(self.gpus)], held)
            before = msgspec.json.encode(self.state)
            after, verdict = idle.step(self.params, self.state, seen)
            assert msgspec.json.encode(self.state) == before
            assert msgspec.json.decode(msgspec.json.encode(after), type=idle.IdleState) == after
            self.state = after
            self.verdicts.append((self.second, verdict))
            self.second += STEP_S
        return self.verdicts[-1][1]

    def seen(self, fields: list[Fields | None], held: bool = False) -> JobObservation:
        """What is seen of it now."""
        now_ns = START_NS + self.second * NS
        members = tuple(
            Member(
                node=f"n{17 + number // 8}",
                device=f"gpu{number % 8}",
                began_ns=START_NS,
                point=point(f"n{17 + number // 8}", number % 8, one, now_ns),
                manager=self.manager,
                user="alice",
            )
            for number, one in enumerate(fields)
        )
        return JobObservation(target="slurm-4711", now_ns=now_ns, members=members, held=held)

    def changes(self) -> list[tuple[int, State]]:
        """(second, state) wherever the state changed, from RUN."""
        found, before = [], State.RUN
        for second, verdict in self.verdicts:
            if verdict.state is not before:
                found.append((second, verdict.state))
                before = verdict.state
        return found


def point(node: str, device: int, fields: Fields | None, now_ns: int) -> Point | None:
    if fields is None:
        return None
    return Point("gpu", node, str(device), "", "", {"power_limit_w": 700.0, **fields}, now_ns)


def test_a_job_that_has_never_worked_is_held_after_an_hour():
    job = Job(gpus=16)
    verdict = job.run(4000, IDLE)
    assert job.changes() == [(3600, State.HOLD)]
    assert verdict.pace == 0.0
    assert job.verdicts[360][1].why == (
        "slurm-4711 of alice holds 16 devices (n17, n18) and has not worked once in 60 min (each below 5% "
        "busy over 60 s; HOLD at 60 min): checkpoint it and let others have its GPUs"
    )
    assert [reason.metric for reason in verdict.because] == ["idle_s", "idle_devices", "retry_s"]


def test_a_job_that_has_stopped_working_is_held_after_half_an_hour():
    job = Job()
    job.run(1200, BUSY)
    job.run(2400, IDLE)
    ((second, state),) = job.changes()
    assert state is State.HOLD
    assert 1200 + 1800 < second < 1200 + 1800 + 300
    assert "has not worked for 30 min" in next(one for at, one in job.verdicts if at == second).why


def test_pauses_of_a_training_are_no_idleness():
    job = Job()
    for _ in range(12):
        job.run(1500, BUSY)
        job.run(900, IDLE)
    assert job.changes() == []


def test_one_busy_second_in_ten_minutes_is_no_work():
    job = Job()
    job.run(1200, BUSY)
    for _ in range(4):
        job.run(600, IDLE)
        job.run(10, {"util_ratio": 0.3, "power_w": 120.0}, IDLE)
    assert [state for _, state in job.changes()] == [State.HOLD]


def test_some_idle_and_others_busy_is_no_idle_job_but_it_says_how_many_are_wasted():
    job = Job(gpus=8)
    verdict = job.run(4 * 3600, BUSY, BUSY, BUSY, BUSY, BUSY, IDLE)
    assert job.changes() == []
    assert not verdict.asks
    assert "3 of 8 devices of slurm-4711 of alice have not worked for 30 min" in verdict.why
    assert (verdict.because[0].metric, verdict.because[0].value) == ("idle_devices", 3)


def test_busy_at_the_power_of_idleness_on_all_devices_is_a_hang_and_says_so():
    job = Job(gpus=8)
    job.run(1200, BUSY)
    job.run(1800, IDLE, SPINNING)
    ((second, _),) = job.changes()
    assert 1200 + 1200 < second < 1200 + 1200 + 600
    why = next(one for at, one in job.verdicts if at == second).why
    assert why.startswith(
        "slurm-4711 of alice hangs: of 8 devices (n17) 7 say that they are busy and draw 21% of their power "
        "limit at most, 1 idle, for 20 min (HOLD at 20 min), as in a collective"
    )


def test_small_work_at_little_power_that_is_not_steady_is_no_hang():
    job = Job(gpus=1)
    for _ in range(400):
        job.run(10, {"util_ratio": 0.95, "power_w": 120.0})
        job.run(10, {"util_ratio": 0.95, "power_w": 190.0})
    assert job.changes() == []


def test_without_measured_power_full_utilization_is_work():
    job = Job()
    job.run(4 * 3600, {"util_ratio": 1.0})
    assert job.changes() == []


def test_without_utilization_power_tells_where_it_can():
    held, silent = Job(), Job()
    held.run(4000, {"power_w": 100.0})
    silent.run(8000, {"power_w": 200.0})
    assert [state for _, state in held.changes()] == [State.HOLD]
    assert silent.changes() == []


def test_much_power_is_work_whatever_the_utilization_says():
    job = Job()
    job.run(8000, {"util_ratio": 0.0, "power_w": 400.0})
    assert job.changes() == []


@pytest.mark.parametrize("unmeasured", [None, {"temp_c": 40.0}], ids=["no sample", "no such field"])
def test_a_job_with_a_device_that_is_not_measured_is_not_judged(unmeasured):
    job = Job()
    job.run(8000, IDLE, unmeasured)
    assert job.changes() == []


def test_a_device_that_falls_silent_begins_the_time_anew():
    job = Job()
    job.run(3500, IDLE)
    seen = job.seen([IDLE, IDLE])
    old = msgspec.structs.replace(seen.members[1], point=point("n17", 1, IDLE, seen.now_ns - 200 * NS))
    job.state, _ = idle.step(
        job.params, job.state, msgspec.structs.replace(seen, members=(seen.members[0], old))
    )
    job.run(3500, IDLE)
    assert job.changes() == []


def test_its_own_checkpoint_does_not_release_it_and_work_after_that_does():
    job = Job()
    job.run(3610, IDLE)
    job.run(100, BUSY)
    job.run(600, IDLE)
    assert job.changes() == [(3600, State.HOLD)]
    verdict = job.run(30, BUSY)
    assert [state for _, state in job.changes()] == [State.HOLD, State.RUN]
    assert "a device of it works again after" in verdict.why


def test_a_held_job_may_try_again_each_time_twice_as_long_apart_eightfold_at_most():
    job = Job()
    job.run(26 * 3600, IDLE)
    found = job.changes()
    holds = [second for second, state in found if state is State.HOLD]
    runs = [second for second, state in found if state is State.RUN]
    waited_h = [round((run - hold) / 3600, 2) for hold, run in zip(holds, runs, strict=False)]
    assert waited_h[:5] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert all(hold - run == 900 for run, hold in zip(runs, holds[1:], strict=False))
    first = next(verdict for second, verdict in job.verdicts if second == runs[0])
    assert "it may try again for 15 min, after 60 min of HOLD" in first.why


def test_a_job_that_works_on_its_try_is_free_and_has_its_half_hour_again():
    job = Job()
    job.run(3600 + 3610, IDLE)
    job.run(300, BUSY)
    job.run(1500, IDLE)
    assert [state for _, state in job.changes()] == [State.HOLD, State.RUN]
    assert job.state.tries == 0


def test_without_retries_a_held_job_waits_for_its_operator():
    job = Job(retry_s=0)
    verdict = job.run(10 * 3600, IDLE)
    assert job.changes() == [(3600, State.HOLD)]
    assert "on a try" not in verdict.cjp.path


def test_a_job_that_others_hold_cannot_work_and_is_not_blamed_for_it():
    job = Job()
    job.run(600, BUSY)
    job.run(8000, IDLE, held=True)
    job.run(1500, IDLE)
    job.run(600, BUSY)
    assert job.changes() == []


@pytest.mark.parametrize(
    ("manager", "exempt"),
    [
        ("unit", ("manager:unit",)),
        ("slurm", ("user:al*",)),
        ("slurm", ("job:slurm-47??",)),
    ],
)
def test_who_is_exempt_is_never_held(manager, exempt):
    job = Job(manager=manager, exempt=exempt)
    verdict = job.run(8000, IDLE)
    assert not verdict.asks
    assert job.changes() == []
    other = Job(manager="slurm", exempt=("manager:pod", "user:bob", "job:notebook-*"))
    other.run(8000, IDLE)
    assert other.changes()


def test_services_and_logins_are_exempt_unless_somebody_says_otherwise():
    for manager in ("unit", "user"):
        assert not Job(manager=manager).run(8000, IDLE).asks
        assert Job(manager=manager, exempt=()).run(4000, IDLE).asks


def test_after_a_restart_a_hold_goes_on_to_its_next_try():
    job = Job()
    verdict = job.run(3600 + 3600 + 900 + 2000, IDLE)
    assert verdict.state is State.HOLD
    goes_on = idle.resume(decided(verdict))
    assert goes_on.held_ns == job.state.held_ns
    assert goes_on.tries == job.state.tries == 1
    assert goes_on.quiet_ns == job.state.quiet_ns
    job.state = goes_on
    job.run(7200 - 2000 - 10, IDLE)
    assert job.verdicts[-1][1].state is State.HOLD
    job.run(30, IDLE)
    assert job.verdicts[-1][1].state is State.RUN


def test_a_run_leaves_nothing_to_resume():
    assert idle.resume(decided(Job().run(10, BUSY))) == idle.initial()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="must be less"):
        IdleSettings(idle_power_ratio=0.5)
    with pytest.raises(ValueError, match="expected manager:, user: or job: and a pattern"):
        IdleSettings(exempt=("alice",))


samples = st.fixed_dictionaries(
    {},
    optional={
        "util_ratio": st.floats(0, 1),
        "power_w": st.floats(0, 800),
        "power_limit_w": st.sampled_from([700.0, 0.0]),
    },
)
ticks = st.tuples(st.integers(1, 2000), st.lists(st.one_of(st.none(), samples), max_size=3), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(ticks, max_size=25))
def test_whatever_is_measured_a_job_with_work_is_not_newly_held_and_a_replay_says_the_same(heard):
    job, was = Job(), State.RUN
    for seconds, fields, held in heard:
        job.second += seconds
        seen = job.seen(fields, held)
        again = msgspec.json.decode(msgspec.json.encode(job.state), type=idle.IdleState)
        replayed = idle.step(job.params, again, seen)
        job.state, verdict = idle.step(job.params, job.state, seen)
        assert replayed == (job.state, verdict)
        assert verdict.state in (State.RUN, State.HOLD)
        works = any(
            one and one.get("power_w", 0.0) >= 0.36 * one.get("power_limit_w", 700) > 0 for one in fields
        )
        first = all(device.quiet_ns == 0 for device in job.state.devices.values())
        if works and first and was is State.RUN:
            assert verdict.state is State.RUN
        assert len(job.state.devices) <= 3
        was = verdict.state


def decided(verdict: Verdict) -> GateDecision:
    """The decision that the gate makes of a verdict."""
    return GateDecision(
        id="1",
        seq=1,
        kind="job",
        target="slurm-4711",
        state=verdict.state,
        pace=verdict.pace,
        mode="enforce",
        issued_at_ns=START_NS,
        expires_at_ns=START_NS + 120 * NS,
        policy=idle.NAME,
        policy_version=idle.VERSION,
        why=verdict.why,
        because=verdict.because,
        cjp=verdict.cjp,
        inputs="",
    )


def test_a_power_limit_that_was_lowered_for_a_pace_makes_no_work_of_idling():
    job = Job(retry_s=0.0)
    job.run(600, BUSY)
    job.run(2000, IDLE)
    assert job.verdicts[-1][1].state is State.HOLD
    job.run(1200, {**IDLE, "power_limit_w": 280.0})
    assert job.verdicts[-1][1].state is State.HOLD


def test_work_that_keeps_to_a_limit_lowered_far_is_no_collective_that_waits():
    job = Job()
    job.run(600, BUSY)
    job.run(7200, {"util_ratio": 1.0, "power_w": 198.0, "power_limit_w": 200.0})
    assert job.changes() == []
