import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermogate.agent.config import JobSettings
from thermogate.agent.job_spans import Job, OpenSpan, Sight, Spans
from thermogate.core.clock import NS

START_NS = 1_763_712_000 * NS
GPU0, GPU1 = ("gpu", "0"), ("gpu", "1")
SLURM = Job("slurm:123", "slurm", "123", "alice", {"step": "0"})
OTHER = Job("slurm:124", "slurm", "124", "bob")
UNIT = Job("unit:train.service", "unit", "train.service", "carol")


def sights(*jobs, process=(10, 1)):
    return {job.name: Sight(job, (process,)) for job in jobs}


class Node:
    """Looks at times given in seconds; UTC and the steady clock go together unless UTC is set."""

    def __init__(self, **settings):
        self.settings = JobSettings(**settings)
        self.spans = Spans("n1", self.settings)
        self.utc_off_s = 0.0

    def look(self, at_s, **seen):
        devices = {("gpu", name.removeprefix("gpu")): jobs for name, jobs in seen.items()}
        return self.spans.look(devices, START_NS + round((at_s + self.utc_off_s) * NS), at_s)

    def restart(self):
        """What is open goes through the form in which it is kept on disk."""
        kept = msgspec.json.encode(self.spans.open())
        self.spans = Spans("n1", self.settings, msgspec.json.decode(kept, type=list[OpenSpan]))


def told(events):
    return [(event.event, event.data["job"], (event.time_ns - START_NS) / NS) for event in events]


def test_span_begins_at_the_first_sight_and_ends_at_the_first_look_without_it():
    node = Node(grace_s=12)
    (began,) = node.look(0, gpu0=sights(SLURM))
    assert (began.event, began.device_kind, began.device, began.time_ns) == (
        "job_began",
        "gpu",
        "0",
        START_NS,
    )
    assert began.data == {
        "job": "slurm:123",
        "manager": "slurm",
        "job_id": "123",
        "user": "alice",
        "step": "0",
    }
    assert node.look(5, gpu0=sights(SLURM)) == []
    assert node.look(10, gpu0={}) == node.look(15, gpu0={}) == []
    (ended,) = node.look(20, gpu0={})
    assert (ended.event, ended.time_ns) == ("job_ended", START_NS + 10 * NS)
    assert ended.data["began_ns"] == str(START_NS)
    assert ended.data["lasted_s"] == 10
    assert ended.text == "gpu0: slurm:123 of alice ended after 10 s"
    assert node.spans.open() == []


def test_short_absence_does_not_split_a_span():
    node = Node(grace_s=12)
    node.look(0, gpu0=sights(UNIT))
    assert node.look(5, gpu0={}) == []
    assert node.look(10, gpu0=sights(UNIT, process=(11, 2))) == []
    node.look(15, gpu0={})
    assert told(node.look(30, gpu0={})) == [("job_ended", UNIT.name, 15)]


def test_device_that_was_not_asked_keeps_its_spans():
    node = Node(grace_s=12, silent_after_s=100)
    node.look(0, gpu0=sights(SLURM), gpu1=sights(SLURM))
    assert node.look(50, gpu1=sights(SLURM)) == []
    assert node.look(60, gpu0=sights(SLURM), gpu1=sights(SLURM)) == []
    assert told(node.look(161, gpu1=sights(SLURM))) == [("job_ended", SLURM.name, 60)]


def test_job_that_went_while_nobody_looked_ends_where_it_was_last_seen():
    node = Node(grace_s=12)
    node.look(0, gpu0=sights(SLURM))
    node.look(5, gpu0=sights(SLURM))
    (ended,) = node.look(500, gpu0={})
    assert ended.time_ns == START_NS + 5 * NS
    assert ended.data["lasted_s"] == 5
    assert "was last seen after 5 s" in ended.text


def test_after_a_long_silence_a_unit_is_known_by_its_processes_and_a_job_by_its_number():
    node = Node(grace_s=12)
    node.look(0, gpu0=sights(SLURM, UNIT, process=(10, 1)))
    assert node.look(500, gpu0=sights(SLURM, UNIT, process=(10, 1))) == []
    assert told(node.look(1000, gpu0=sights(SLURM, UNIT, process=(10, 2)))) == [
        ("job_ended", UNIT.name, 500.000000001),
        ("job_began", UNIT.name, 1000.000000001),
    ]


def test_events_of_jobs_that_share_a_device_have_stamps_of_their_own():
    node = Node(grace_s=12)
    events = node.look(0, gpu0=sights(SLURM, OTHER, UNIT)) + node.look(5, gpu0={}) + node.look(20, gpu0={})
    assert len(events) == 6
    assert len({(event.event, event.time_ns) for event in events}) == 6


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_clock_that_is_set_gives_no_negative_and_no_wrong_length(jump_s):
    node = Node(grace_s=12)
    node.look(0, gpu0=sights(SLURM))
    node.look(5, gpu0=sights(SLURM))
    node.utc_off_s = jump_s
    node.look(10, gpu0={})
    (ended,) = node.look(30, gpu0={})
    assert ended.data["lasted_s"] == 10
    assert ended.time_ns == max(START_NS, START_NS + (10 + jump_s) * NS)


def test_device_holds_no_more_spans_than_the_setting():
    node = Node(max_jobs=2)
    assert len(node.look(0, gpu0=sights(SLURM, OTHER, UNIT))) == 2
    assert node.spans.left_out == 1


def test_end_of_the_boot_ends_every_span_where_it_was_last_seen():
    node = Node()
    node.look(0, gpu0=sights(SLURM), gpu1=sights(OTHER))
    node.look(5, gpu0=sights(SLURM), gpu1=sights(OTHER))
    assert told(node.spans.end_all()) == [("job_ended", SLURM.name, 5), ("job_ended", OTHER.name, 5)]
    assert node.spans.open() == []


step = st.tuples(
    st.floats(0.5, 40),  # seconds since the look before
    st.dictionaries(
        st.sampled_from(["0", "1"]), st.sets(st.sampled_from([SLURM.name, OTHER.name, UNIT.name]))
    ),
    st.booleans(),  # the agent starts again before it
    st.integers(0, 2),  # which process a unit has
)


@settings(deadline=None, max_examples=60)
@given(st.lists(step, max_size=30))
def test_spans_of_a_job_never_overlap_and_restarts_lose_and_repeat_nothing(steps):
    jobs = {job.name: job for job in (SLURM, OTHER, UNIT)}
    runs = [Node(grace_s=12, silent_after_s=60), Node(grace_s=12, silent_after_s=60)]
    said = [[], []]
    at_s = 0.0
    for gap_s, seen, restarts, process in steps:
        at_s += gap_s
        now = {
            f"gpu{n}": sights(*(jobs[name] for name in sorted(names)), process=(10, process))
            for n, names in seen.items()
        }
        if restarts:
            runs[1].restart()
        for node, events in zip(runs, said, strict=True):
            events += node.look(at_s, **now)
        for device, names in seen.items():
            open_jobs = [span.job.name for span in runs[0].spans.open() if span.device == device]
            assert names <= set(open_jobs)
    once, restarted = (sorted(events, key=repr) for events in said)
    assert once == restarted
    assert len({(event.device, event.event, event.time_ns) for event in said[0]}) == len(said[0])
    open_spans = {}
    for event in said[0]:
        key = (event.device, event.data["job"])
        if event.event == "job_began":
            assert key not in open_spans
            open_spans[key] = event.time_ns
        else:
            assert event.data["began_ns"] == str(open_spans.pop(key))
            assert event.data["lasted_s"] >= 0
            assert event.time_ns >= int(event.data["began_ns"])
    assert set(open_spans) == {(span.device, span.job.name) for span in runs[0].spans.open()}
