"""Jobs told from a tree of /proc: a made one, and the machine's own."""

import logging
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock
from thermogate.agent.config import JobSettings
from thermogate.agent.jobs import Jobs
from thermogate.agent.processes import ProcessTable, UserNames, name_of
from thermogate.agent.sources.host import HostSettings
from thermogate.core.clock import SystemClock

GPU0, GPU1 = ("gpu", "0"), ("gpu", "1")
SLURM = "0::/system.slice/slurmstepd.scope/job_{}/step_0/user/task_0\n"
GENEROUS_S = 20.0


class Proc:
    """A tree as the kernel gives it, with the files that are read."""

    def __init__(self, root):
        self.root = root
        self.boot("boot-1")

    def boot(self, identity):
        folder = self.root / "sys" / "kernel" / "random"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "boot_id").write_text(identity + "\n")

    def start(self, pid, cgroup, *, uid=1000, start=500, name="python3"):
        folder = self.root / str(pid)
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(cgroup)
        (folder / "stat").write_text(f"{pid} ({name}) S 1 {' '.join(['0'] * 17)} {start} 0 0\n")
        (folder / "status").write_text(f"Name:\t{name}\nUid:\t{uid}\t0\t0\t0\nGid:\t0\t0\t0\t0\n")

    def end(self, pid):
        for file in (self.root / str(pid)).iterdir():
            file.unlink()
        (self.root / str(pid)).rmdir()


class Node:
    """A tracker over a made tree; `look` waits for the events of its look, as a later tick has them."""

    def __init__(self, folder, **settings):
        self.proc = Proc(folder / "proc")
        self.file = folder / "jobs" / "n1.json"
        self.clock = FakeClock()
        self.settings = JobSettings(grace_s=12, **settings)
        self.host = HostSettings(procfs_root=str(folder / "proc"))
        self.start()

    def start(self):
        """The agent begins; one that ran before was killed."""
        names = UserNames(GENEROUS_S, {1000: "alice", 1001: "bob"}.__getitem__)
        self.jobs = Jobs("n1", self.settings, self.host, self.file, self.clock, names=names)

    def look(self, after_s=5.0, **pids):
        self.clock.pass_time(after_s)
        users = {("gpu", name.removeprefix("gpu")): tuple(some) for name, some in pids.items()}
        events = self.jobs.step(users, self.clock.utc_ns())
        self.wait()
        return events + self.jobs.step({}, self.clock.utc_ns())

    def wait(self):
        if self.jobs._pending is not None:
            self.jobs._pending[1].result(GENEROUS_S)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def told(events):
    return [
        (event.event, event.data["job"], event.data.get("user", "")) for event in events if event.device_kind
    ]


def test_step_never_waits_and_events_have_the_stamp_of_the_tick_that_asked(node):
    node.proc.start(10, SLURM.format(123))
    stamp = node.clock.utc_ns()
    assert node.jobs.step({GPU0: (10,)}, stamp) == []
    node.wait()
    node.clock.pass_time(1)
    afresh, began = node.jobs.step({}, node.clock.utc_ns())
    assert (began.event, began.time_ns, began.data["job"]) == ("job_began", stamp, "slurm:123")
    assert (afresh.device_kind, afresh.data) == ("", {"job": "all"})


def test_every_manager_gives_its_name_and_several_jobs_may_share_a_device(node):
    pod = "2c48913c-b29f-11e7-9350-020968147796"
    node.proc.start(10, SLURM.format(123), uid=1001)
    node.proc.start(11, f"0::/kubepods/burstable/pod{pod}/{'ab' * 32}\n")
    node.proc.start(12, f"0::/docker/{'cd' * 32}\n")
    node.proc.start(13, "0::/system.slice/train.service\n")
    node.proc.start(14, "0::/\n")
    node.proc.start(15, SLURM.format(123), uid=1001)
    events = node.look(gpu0=range(10, 16), gpu1=[15])
    assert told(events) == [
        ("job_began", "slurm:123", "bob"),
        ("job_began", f"pod:{pod}", "alice"),
        ("job_began", "container:cdcdcdcdcdcd", "alice"),
        ("job_began", "unit:train.service", "alice"),
        ("job_began", "user:alice", "alice"),
        ("job_began", "slurm:123", "bob"),
    ]
    assert events[2].data["qos"] == "burstable"
    assert events[2].data["container"] == "abababababab"
    assert events[-1].device == "1"


def test_units_of_one_name_of_two_users_are_two_jobs(node):
    for pid, uid in ((10, 1000), (11, 1001)):
        path = f"/user.slice/user-{uid}.slice/user@{uid}.service/app.slice/jupyter.service"
        node.proc.start(pid, f"0::{path}\n", uid=uid)
    assert told(node.look(gpu0=[10, 11])) == [
        ("job_began", "unit:alice:jupyter.service", "alice"),
        ("job_began", "unit:bob:jupyter.service", "bob"),
    ]


def test_number_of_a_process_that_is_used_again_is_another_process(node):
    node.proc.start(10, SLURM.format(1))
    node.look(gpu0=[10])
    node.proc.end(10)
    node.proc.start(10, SLURM.format(2), start=900)
    assert told(node.look(gpu0=[10])) == [("job_began", "slurm:2", "alice")]
    assert told(node.look(20, gpu0=[10])) == [("job_ended", "slurm:1", "alice")]


def test_devices_may_be_asked_in_turns(node):
    node.proc.start(10, SLURM.format(1))
    node.proc.start(11, SLURM.format(2))
    assert told(node.look(gpu0=[10])) == [("job_began", "slurm:1", "alice")]
    assert told(node.look(gpu1=[10, 11])) == [
        ("job_began", "slurm:1", "alice"),
        ("job_began", "slurm:2", "alice"),
    ]
    (node.proc.root / "10" / "stat").write_text("read again only when it is another process")
    assert node.look(gpu0=[10]) == node.look(gpu1=[10]) == node.look(gpu0=[10]) == []


def test_process_that_is_moved_to_another_group_is_noticed(node):
    node.proc.start(10, "0::/system.slice/slurmd.service\n")
    node.look(gpu0=[10])
    (node.proc.root / "10" / "cgroup").write_text(SLURM.format(7))
    assert node.look(gpu0=[10]) == []
    assert told(node.look(301, gpu0=[10]))[-1] == ("job_began", "slurm:7", "alice")


@pytest.mark.parametrize("name", ["a) R 1 2 (b", "((", "", ") S 1"])
def test_name_of_a_program_may_hold_anything(node, name):
    node.proc.start(10, SLURM.format(1), name=name)
    assert told(node.look(gpu0=[10])) == [("job_began", "slurm:1", "alice")]


def test_process_that_has_ended_or_cannot_be_read_is_left_out(node):
    node.proc.start(10, SLURM.format(1))
    (node.proc.root / "10" / "stat").write_text("nonsense")
    node.proc.start(11, SLURM.format(2))
    (node.proc.root / "11" / "status").unlink()
    assert told(node.look(gpu0=[0, -1, 9, 10, 11])) == []


def test_processes_of_another_namespace_are_said_to_be_hidden_once(node, caplog):
    for _ in range(4):
        node.look(gpu0=[4001, 4002])
    assert len([r for r in caplog.records if "hostPID" in r.message]) == 1


def test_processes_beyond_the_setting_are_left_out_and_that_is_said_once(tmp_path, caplog):
    node = Node(tmp_path, max_processes=2)
    for pid in range(10, 13):
        node.proc.start(pid, SLURM.format(pid))
    assert told(node.look(gpu0=[12, 11, 10])) == [("job_began", f"slurm:{n}", "alice") for n in (10, 11)]
    node.look(gpu0=range(10, 20))
    assert len([r for r in caplog.records if "max_processes" in r.message]) == 1


# restarts


def test_job_that_runs_on_over_a_restart_keeps_its_span(node):
    node.proc.start(10, SLURM.format(1))
    (_, began) = node.look(gpu0=[10])
    for _ in range(2):  # by then it is certain that the event was spooled
        assert node.look(31, gpu0=[10]) == []
    node.start()
    assert node.look(600, gpu0=[10]) == []
    node.proc.end(10)
    node.look(gpu0=[])
    (ended,) = node.look(20, gpu0=[])
    assert ended.data["began_ns"] == str(began.time_ns)
    assert ended.data["lasted_s"] == pytest.approx(667)


def test_job_that_ended_while_no_agent_ran_ends_where_it_was_last_seen(node):
    node.proc.start(10, SLURM.format(1))
    node.look(gpu0=[10])
    node.look(35, gpu0=[10])
    last_ns = node.clock.utc_ns()
    node.proc.end(10)
    node.start()
    events = node.look(600, gpu0=[])
    assert [(e.event, e.time_ns) for e in events if e.event == "job_ended" and e.device_kind] == [
        ("job_ended", last_ns)
    ]


def test_boot_of_the_machine_ends_every_span_even_when_no_device_is_asked_any_more(node):
    node.proc.start(10, SLURM.format(1))
    node.look(gpu0=[10])
    node.proc.boot("boot-2")
    node.start()
    ended = [event for event in node.look(600) if event.event == "job_ended" and event.device_kind]
    assert [event.data["job"] for event in ended] == ["slurm:1"]


def test_events_that_a_kill_kept_from_the_spool_are_said_again_as_they_were(node):
    node.proc.start(10, SLURM.format(1))
    node.clock.pass_time(5)
    node.jobs.step({GPU0: (10,)}, node.clock.utc_ns())
    node.wait()  # killed before a step hands them over
    node.start()
    first = node.look(gpu0=[10])
    assert told(first) == [("job_began", "slurm:1", "alice")]
    node.start()
    assert node.look(gpu0=[10]) == first  # harmless: stored once
    for _ in range(2):
        node.look(31, gpu0=[10])
    node.start()
    assert node.look(gpu0=[10]) == []


def test_file_that_is_lost_is_told_so_that_open_spans_do_not_run_for_ever(node):
    node.proc.start(10, SLURM.format(1))
    node.look(gpu0=[10])
    node.file.unlink()
    node.start()
    afresh, began = node.look(60, gpu0=[10])
    assert (afresh.event, afresh.device_kind, afresh.data["job"]) == ("job_ended", "", "all")
    assert began.time_ns >= afresh.time_ns


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"version":2}', b'{"version":1,"spans":[{}]}', b"null"],
)
def test_file_that_cannot_be_used_is_left_with_a_warning(node, caplog, content):
    node.file.parent.mkdir()
    node.file.write_bytes(content)
    node.proc.start(10, SLURM.format(1))
    assert told(node.look(gpu0=[10])) == [("job_began", "slurm:1", "alice")]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    node.start()
    assert told(node.look(gpu0=[10])) == [("job_began", "slurm:1", "alice")]  # the same one, said again


def test_disk_that_cannot_be_written_stops_nothing_and_is_said_once(node, caplog):
    node.file.parent.write_text("a file where the folder should be")
    node.proc.start(10, SLURM.format(1))
    assert told(node.look(gpu0=[10])) == [("job_began", "slurm:1", "alice")]
    node.look(60, gpu0=[10])
    node.look(gpu0=[])
    assert told(node.look(20, gpu0=[])) == [("job_ended", "slurm:1", "alice")]
    assert len([r for r in caplog.records if "a restart will not know" in r.message]) == 1


turn = st.tuples(
    st.sampled_from([1.0, 5.0, 30.0, 400.0]),  # seconds since the turn before
    st.sets(st.sampled_from([10, 11, 12]), max_size=3),  # processes on gpu0
    st.sampled_from(["goes on", "killed before it spools", "killed after it spooled", "the machine boots"]),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(turn, max_size=15))
def test_kill_at_any_time_leaves_a_beginning_for_each_end_and_one_span_at_a_time(turns):
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder))
        for pid, group in ((10, SLURM.format(1)), (11, "0::/system.slice/train.service\n"), (12, "0::/\n")):
            node.proc.start(pid, group)
        spooled = []
        for number, (after_s, pids, then) in enumerate(turns):
            node.clock.pass_time(after_s)
            spooled += node.jobs.step({GPU0: tuple(sorted(pids))}, node.clock.utc_ns())
            node.wait()
            if then != "killed before it spools":
                spooled += node.jobs.step({}, node.clock.utc_ns())
            if then == "the machine boots":
                node.proc.boot(f"boot-{number}")
            if then != "goes on":
                node.start()
        spooled += node.look(gpu0=[10])
        stored = {(event.event, event.time_ns): event for event in spooled if event.device_kind}
    open_spans = {}
    for event in sorted(stored.values(), key=lambda event: (event.time_ns, event.event)):
        job = event.data["job"]
        if event.event == "job_began":
            assert job not in open_spans
            open_spans[job] = str(event.time_ns)
        else:
            assert event.data["began_ns"] == open_spans.pop(job)
            assert event.data["lasted_s"] >= 0
    assert set(open_spans) == {span.job.name for span in node.jobs._spans.open()}
    assert "slurm:1" in open_spans


# what hangs


def test_look_that_hangs_is_skipped_over_and_said_once(node, caplog):
    release = threading.Event()
    names = UserNames(GENEROUS_S, lambda uid: "alice" if release.wait(GENEROUS_S) else "")
    node.jobs = Jobs("n1", node.settings, node.host, node.file, node.clock, names=names)
    node.proc.start(10, "0::/\n")
    for _ in range(20):
        node.clock.pass_time(5)
        assert node.jobs.step({GPU0: (10,)}, node.clock.utc_ns()) == []
    assert len([r for r in caplog.records if "takes over 35 s" in r.message]) == 1
    release.set()
    node.wait()
    assert told(node.jobs.step({}, node.clock.utc_ns())) == [("job_began", "user:alice", "alice")]


def test_directory_of_users_that_hangs_costs_its_timeout_once():
    release = threading.Event()
    names = UserNames(0.01, lambda uid: "alice" if release.wait(GENEROUS_S) and uid == 1000 else "bob")
    assert names.get(1000) == "1000"
    began_s = time.monotonic()
    assert [names.get(uid) for uid in range(2000, 2100)] == [str(uid) for uid in range(2000, 2100)]
    assert time.monotonic() - began_s < GENEROUS_S / 2
    release.set()
    names._pending[1].result(GENEROUS_S)
    assert names.get(1000) == "alice"


def test_user_without_a_name_is_a_number():
    assert name_of(0) == "root"
    assert name_of(3_999_999_999) == "3999999999"


# the machine's own /proc


def test_process_of_this_machine_is_told(tmp_path):
    table = ProcessTable(JobSettings(), Path("/proc"), UserNames(GENEROUS_S))
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            (sight,) = table.look({GPU0: (child.pid,)}, 0.0)[GPU0].values()
            assert sight.job.user == name_of(os.getuid())
            assert [pid for pid, _ in sight.processes] == [child.pid]
            assert table.look({GPU0: (child.pid,)}, 5.0) == {GPU0: {sight.job.name: sight}}
        finally:
            child.kill()
    assert table.look({GPU0: (child.pid,)}, 10.0) == {GPU0: {}}


@pytest.fixture
def slurm_group():
    """A group as Slurm makes it, where this machine lets one be made: v1 or v2."""
    roots = [Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")]
    made = []
    for root in roots:
        group = root / "slurm" / "uid_0" / "job_4242" / "step_0"
        try:
            for part in (group.parents[2], group.parents[1], group.parents[0], group):
                part.mkdir(exist_ok=True)
                made.append(part)
            (group / "cgroup.procs").read_text()
        except OSError:
            continue
        yield group
        break
    else:
        pytest.skip("no control group can be made here: it takes root and a writable /sys/fs/cgroup")
    for part in reversed(made):
        part.rmdir()


def test_process_in_a_real_control_group_is_told(slurm_group, tmp_path):
    jobs = Jobs("n1", JobSettings(), HostSettings(), tmp_path / "jobs.json", SystemClock())
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            (slurm_group / "cgroup.procs").write_text(str(child.pid))
            jobs.step({GPU0: (child.pid,)}, time.time_ns())
            jobs._pending[1].result(GENEROUS_S)
            events = jobs.step({}, time.time_ns())
        finally:
            child.kill()
    assert told(events) == [("job_began", "slurm:4242", "root")]
    assert events[-1].data["step"] == "0"
