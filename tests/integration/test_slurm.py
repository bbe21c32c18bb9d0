"""Decisions on a real broker, obeyed by a real Slurm of emulated nodes."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers import binary, mosquitto
from tests.slurm import Cluster, slurm
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, GateDecision, State, new_ulid
from thermogate.core.gate_messages import Applied
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import applied_topic, decode, encode, gate_topic

pytestmark = pytest.mark.integration

_LIMIT_S = 60.0
_WHY = 'gpu0 is at 89 C and would reach its limit of 90 C in 20 s; "x=y" \n State=DOWN'
_TRAPS = "trap 'echo told >> {file}' USR1\nwhile :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def cluster():
    with slurm(4) as running:
        yield running


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


@pytest.fixture
def free(cluster):
    """Every node idle and no job, before and after."""
    yield cluster
    cluster.run("scancel", "--user=root", check=False)
    for node in cluster.nodes:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)


class Gate:
    """Says decisions, and hears what was done about them."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self._seq = itertools.count(time.time_ns() // 1_000_000)
        self.applied: list[Applied] = []

    async def say(self, kind, target, state, *, mode="enforce", for_s=600.0, pace=1.0):
        now_ns = time.time_ns()
        decision = GateDecision(
            id=new_ulid(),
            seq=next(self._seq),
            kind=kind,
            target=target,
            state=State(state),
            pace=pace,
            mode=mode,
            issued_at_ns=now_ns,
            expires_at_ns=now_ns + round(for_s * NS),
            policy="thermal",
            policy_version=1,
            why=_WHY,
            because=(),
            cjp=Cjp("none", "hot", "cool for 60 s"),
            inputs="0",
        )
        await self._client.publish(gate_topic(kind, target), encode(decision), retain=True)
        return decision

    async def hear(self):
        while True:
            for message in await self._client.receive(100):
                self.applied.append(decode(message.payload, Applied))

    def outcomes(self, target):
        return [one.outcome for one in self.applied if one.target == target]


@contextlib.asynccontextmanager
async def speaking(url):
    settings = MqttSettings(url=url)
    async with MqttClient(settings, client_id="test-gate", subscribe=(applied_topic("+", "+"),)) as client:
        await client.wait_connected()
        gate = Gate(client)
        hearing = asyncio.create_task(gate.hear())
        try:
            yield gate
        finally:
            hearing.cancel()


class Service:
    """`thermogate slurm` as a process, which can be killed and started again."""

    def __init__(self, cluster: Cluster, url: str, folder: Path, *sets: str) -> None:
        self._env = {**os.environ, "SLURM_CONF": cluster.env["SLURM_CONF"]}
        self.folder = folder
        common = ("--data-dir", str(folder), "--set", "schedulers.watch.verify=false")
        quick = ("schedulers.obey.resync_s=1", "schedulers.obey.settle_s=2", *sets)
        self._options = (*common, "--broker", url, *(word for one in quick for word in ("--set", one)))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "thermogate.cli.main", "slurm", *self._options, *options]
        with (self.folder / "service.log").open("ab") as out:
            self._process = subprocess.Popen(command, env=self._env, stdout=out, stderr=out)

    def stop(self, number=signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self._process.wait(_LIMIT_S)

    def call(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "thermogate.cli.main", "slurm", *self._options, *options]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=_LIMIT_S)

    def undo_all(self) -> str:
        done = self.call("--undo-all")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self) -> str:
        return (self.folder / "service.log").read_text()


@contextlib.contextmanager
def obeying(cluster, url, folder, *sets, options=("--enforce",)):
    service = Service(cluster, url, folder, *sets)
    service.start(*options)
    try:
        yield service
    finally:
        service.stop(signal.SIGKILL)


async def until(holds, what, limit_s=_LIMIT_S, logs=str):
    deadline = time.monotonic() + limit_s
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"{what}: not so after {limit_s:.0f} s\n{logs()}"
        await asyncio.sleep(0.05)


def drained(cluster, node):
    return "DRAIN" in cluster.node_states(node)


def stopped(pid):
    """Whether a process is stopped: the state after the name in brackets is T."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def running_job(cluster, *options, node="gpu0", script="exec sleep 1000"):
    return cluster.submit(script, f"--nodelist={node}", "--gres=gpu:1", *options)


async def test_a_hot_node_is_drained_with_the_reason_its_job_goes_on_and_it_comes_back(
    free, broker, tmp_path
):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            job = running_job(cluster)
            await until(lambda: cluster.job_state(job) == "RUNNING", "the job runs")
            await gate.say("node", "gpu0", "HOLD")
            await until(lambda: drained(cluster, "gpu0"), "drained", logs=service.log)
            shown = cluster.run("sinfo", "-R", "--noheader", "--format=%E|%N")
            assert shown == (
                'thermogate: gpu0 is at 89 C and would reach its limit of 90 C in 20 s; "x=y" State=DOWN|gpu0'
            )
            assert cluster.job_state(job) == "RUNNING"
            assert not drained(cluster, "gpu1")
            await gate.say("node", "gpu0", "RUN")
            await until(lambda: not drained(cluster, "gpu0"), "given back", logs=service.log)
            assert cluster.node_reason("gpu0") == ""
            assert cluster.job_state(job) == "RUNNING"
            await until(
                lambda: gate.outcomes("gpu0") == ["done", "undone"],
                "reported",
                logs=lambda: f"{gate.applied}{service.log()}",
            )
            assert gate.applied[0].actions[0].startswith("scontrol update NodeName=gpu0 State=DRAIN 'Reason=")


@pytest.mark.parametrize(("mode", "options"), [("shadow", ("--enforce",)), ("enforce", ())])
async def test_in_shadow_and_in_a_dry_run_slurm_stays_as_it_is_and_it_is_said_what_would_be_done(
    mode, options, free, broker, tmp_path
):
    cluster = free
    with obeying(cluster, broker, tmp_path, options=options):
        async with speaking(broker) as gate:
            job = running_job(cluster)
            await until(lambda: cluster.job_state(job) == "RUNNING", "the job runs")
            await gate.say("node", "gpu0", "HOLD", mode=mode)
            await gate.say("job", f"slurm-{job}", "HOLD", mode=mode)
            await until(lambda: len(gate.applied) >= 2, "reported")
            await asyncio.sleep(1.5)  # a resync
            assert {one.outcome for one in gate.applied} == {"would"}
            actions = {one.target: one.actions for one in gate.applied}
            assert "State=DRAIN" in actions["gpu0"][0]
            assert actions[f"slurm-{job}"][-1] == f"scontrol suspend {job}"
            assert not drained(cluster, "gpu0")
            assert cluster.job_state(job) == "RUNNING"
            assert "AdminComment" not in cluster.run("scontrol", "show", "job", job)


async def test_an_operators_drain_is_never_touched_nor_is_a_reason_that_an_operator_has_put_over_ours(
    free, broker, tmp_path
):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            cluster.run("scontrol", "update", "NodeName=gpu1", "State=DRAIN", "Reason=new fan, anna")
            await gate.say("node", "gpu1", "HOLD")
            await gate.say("node", "gpu2", "HOLD")
            await until(
                lambda: drained(cluster, "gpu2") and gate.outcomes("gpu1"), "drained", logs=service.log
            )
            await until(lambda: gate.outcomes("gpu2") == ["done"], "reported")
            cluster.run("scontrol", "update", "NodeName=gpu2", "State=DRAIN", "Reason=bad board, anna")
            await gate.say("node", "gpu1", "RUN")
            await gate.say("node", "gpu2", "RUN")
            await until(lambda: len(gate.outcomes("gpu2")) == 2, "reported", logs=service.log)
            assert gate.outcomes("gpu1") == ["nothing"] * len(gate.outcomes("gpu1"))
            assert gate.outcomes("gpu2") == ["done", "nothing"]
            assert (cluster.node_reason("gpu1"), cluster.node_reason("gpu2")) == (
                "new fan, anna",
                "bad board, anna",
            )
            assert drained(cluster, "gpu1")
            assert drained(cluster, "gpu2")


async def test_a_drained_node_that_is_taken_out_of_its_partition_is_given_back(free, broker, tmp_path):
    cluster = free
    others = ",".join(node for node in cluster.nodes if node != "gpu3")
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            await gate.say("node", "gpu3", "HOLD")
            await until(lambda: gate.outcomes("gpu3") == ["done"], "drained", logs=service.log)
            cluster.run("scontrol", "update", "PartitionName=train", f"Nodes={others}")
            try:
                await asyncio.sleep(2.5)  # a resync
                assert gate.outcomes("gpu3") == ["done"]
                await gate.say("node", "gpu3", "RUN")
                await until(lambda: gate.outcomes("gpu3") == ["done", "undone"], "told", logs=service.log)
                assert not drained(cluster, "gpu3")
            finally:
                cluster.run("scontrol", "update", "PartitionName=train", f"Nodes={','.join(cluster.nodes)}")


async def test_a_drain_ends_when_its_decision_expires(free, broker, tmp_path):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            await gate.say("node", "gpu3", "REPAIR", for_s=20.0, pace=0.0)
            await until(lambda: drained(cluster, "gpu3"), "drained", logs=service.log)
            await until(lambda: not drained(cluster, "gpu3"), "given back", logs=service.log)
            await until(lambda: gate.outcomes("gpu3") == ["done", "undone"], "reported")


async def test_without_the_rights_nothing_is_changed_and_it_is_said_once_in_slurms_words(
    free, broker, tmp_path
):
    cluster = free
    programs = tmp_path / "bin"
    programs.mkdir()
    nobody = f"exec {binary('setpriv')} --reuid=65534 --clear-groups"
    for name in ("scontrol", "squeue", "sinfo", "scancel"):
        (programs / name).write_text(f'#!/bin/sh\n{nobody} {binary(name)} "$@"\n')
        (programs / name).chmod(0o755)
    with obeying(cluster, broker, tmp_path, f"schedulers.slurm.bin_dir={programs}") as service:
        async with speaking(broker) as gate:
            await gate.say("node", "gpu0", "HOLD")
            await until(lambda: gate.outcomes("gpu0"), "reported", logs=service.log)
            await asyncio.sleep(2.0)  # it is tried again
            assert gate.outcomes("gpu0") == ["failed"]
            assert "Invalid user id" in gate.applied[0].text
            assert not drained(cluster, "gpu0")


def fatal_scontrol(folder, when):
    """Slurm's programs, of which scontrol once kills who has called it, before or after it drains a node."""
    folder.mkdir()
    for name in ("scontrol", "squeue", "sinfo", "scancel"):
        real = binary(name)
        text = f'#!/bin/sh\nexec {real} "$@"\n'
        if name == "scontrol":
            first = f'{real} "$@"; ' if when == "after" else ""
            kill = f"{first}touch {folder}/killed; kill -9 $PPID; exit 1"
            text = text.replace(
                "exec", f'case "$*" in *State=DRAIN*) [ -e {folder}/killed ] || {{ {kill}; }};; esac\nexec'
            )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_between_journal_and_command_or_after_it_it_drains_once_started_again_and_gives_back(
    when, free, broker, tmp_path
):
    cluster = free
    programs = fatal_scontrol(tmp_path / "bin", when)
    with obeying(cluster, broker, tmp_path, f"schedulers.slurm.bin_dir={programs}") as service:
        async with speaking(broker) as gate:
            await gate.say("node", "gpu0", "HOLD")
            await until(lambda: (programs / "killed").exists(), "killed", logs=service.log)
            assert service.wait() == -signal.SIGKILL
            assert drained(cluster, "gpu0") == (when == "after")
            assert b'"node/gpu0":{"drain"' in (tmp_path / "slurm.json").read_bytes()
            service.start("--enforce")
            await until(lambda: drained(cluster, "gpu0"), "drained", logs=service.log)
            await until(lambda: gate.outcomes("gpu0") == ["done"], "reported", logs=service.log)
            service.stop(signal.SIGKILL)
            await gate.say("node", "gpu0", "RUN")
            service.start("--enforce")
            await until(lambda: not drained(cluster, "gpu0"), "given back", logs=service.log)


async def test_what_bears_our_sign_is_given_back_without_the_journal_by_a_start_and_by_undo_all(
    free, broker, tmp_path
):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            cluster.run("scontrol", "update", "NodeName=gpu3", "State=DRAIN", "Reason=new fan, anna")
            job = running_job(cluster)
            await until(lambda: cluster.job_state(job) == "RUNNING", "the job runs")
            for kind, target in (("node", "gpu1"), ("job", f"slurm-{job}")):
                await gate.say(kind, target, "HOLD")
            await until(lambda: drained(cluster, "gpu1"), "drained", logs=service.log)
            await until(lambda: cluster.job_state(job) == "SUSPENDED", "suspended", logs=service.log)
            comment = cluster.job_field(job, "AdminComment")
            assert comment.startswith("thermogate:")
            service.stop(signal.SIGKILL)
            (tmp_path / "slurm.json").unlink()
            said = service.undo_all()
            assert "scontrol update NodeName=gpu1 State=UNDRAIN" in said
            assert f"scontrol resume {job}" in said
            assert not drained(cluster, "gpu1")
            assert cluster.job_state(job) == "RUNNING"
            assert drained(cluster, "gpu3")
            assert cluster.job_field(job, "AdminComment") == ""

            cluster.run("scontrol", "update", "NodeName=gpu2", "State=DRAIN", "Reason=thermogate: hot")
            (tmp_path / "slurm-standing.json").unlink(missing_ok=True)
            for kind, target in (("node", "gpu1"), ("job", f"slurm-{job}")):
                await gate.say(kind, target, "RUN")
            service.start("--enforce")
            await until(lambda: not drained(cluster, "gpu2"), "given back", logs=service.log)
            assert drained(cluster, "gpu3")


async def test_while_the_controller_is_away_it_is_tried_again_and_a_drain_that_it_forgot_is_set_again(
    broker, tmp_path
):
    with slurm(2) as cluster, obeying(cluster, broker, tmp_path, "schedulers.slurm.timeout_s=2") as service:
        async with speaking(broker) as gate:
            cluster.stop("slurmctld")
            await gate.say("node", "gpu0", "HOLD")
            await until(lambda: gate.outcomes("gpu0") == ["failed"], "failed", logs=service.log)
            cluster.start("slurmctld")
            await until(lambda: drained(cluster, "gpu0"), "drained", logs=service.log)
            await gate.say("node", "gpu1", "HOLD")
            await until(lambda: drained(cluster, "gpu1"), "drained", logs=service.log)
            cluster.stop("slurmctld")  # by SIGKILL, before it has written its state
            cluster.start("slurmctld")
            await until(lambda: drained(cluster, "gpu1"), "drained again", logs=service.log)
            await gate.say("node", "gpu0", "RUN")
            await gate.say("node", "gpu1", "RUN")
            await until(
                lambda: not drained(cluster, "gpu0") and not drained(cluster, "gpu1"),
                "given back",
                logs=service.log,
            )
            assert "Traceback" not in service.log()


async def test_a_waiting_job_is_held_and_released_and_a_users_own_hold_stays(free, broker, tmp_path):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            held = cluster.submit("true", "--begin=now+1hour")
            own = cluster.submit("true", "--hold")
            for job in (held, own):
                await gate.say("job", f"slurm-{job}", "HOLD")
            await until(lambda: cluster.job_field(held, "Priority") == "0", "held", logs=service.log)
            await until(lambda: gate.outcomes(f"slurm-{own}") == ["nothing"], "reported", logs=service.log)
            for job in (held, own):
                await gate.say("job", f"slurm-{job}", "RUN")
            await until(lambda: cluster.job_field(held, "Priority") != "0", "released", logs=service.log)
            await asyncio.sleep(1.5)  # a resync
            assert cluster.job_field(own, "Priority") == "0"
            assert cluster.job_field(own, "Reason") == "JobHeldUser"


async def test_a_running_job_is_told_to_checkpoint_then_stopped_and_goes_on(free, broker, tmp_path):
    cluster = free
    told, pid = tmp_path / "told", tmp_path / "pid"
    script = f"echo $$ > {pid}\n" + _TRAPS.format(file=told)
    sets = ("schedulers.slurm.checkpoint_signal=USR1", "schedulers.slurm.checkpoint_s=2")
    with obeying(cluster, broker, tmp_path, *sets) as service:
        async with speaking(broker) as gate:
            job = running_job(cluster, script=script)
            await until(lambda: pid.exists() and pid.read_text().strip(), "the job runs")
            number = int(pid.read_text())
            await gate.say("job", f"slurm-{job}", "HOLD")
            await until(told.exists, "told", logs=service.log)
            assert cluster.job_state(job) == "RUNNING"
            await until(lambda: cluster.job_state(job) == "SUSPENDED", "suspended", logs=service.log)
            await until(lambda: stopped(number), "stopped")
            await gate.say("job", f"slurm-{job}", "RUN")
            await until(lambda: cluster.job_state(job) == "RUNNING", "resumed", logs=service.log)
            await until(lambda: not stopped(number), "going on")
            await until(lambda: gate.outcomes(f"slurm-{job}")[-1] == "undone", "reported", logs=service.log)
            assert told.read_text() == "told\n"


async def test_a_job_is_requeued_and_held_after_its_checkpoint_and_may_start_again(free, broker, tmp_path):
    cluster = free
    told = tmp_path / "told"
    sets = ("checkpoint_signal=USR1", "checkpoint_s=2", "on_job_hold=requeue")
    with obeying(cluster, broker, tmp_path, *(f"schedulers.slurm.{one}" for one in sets)) as service:
        async with speaking(broker) as gate:
            job = running_job(cluster, script=_TRAPS.format(file=told))
            await until(lambda: cluster.job_state(job) == "RUNNING", "the job runs")
            await asyncio.sleep(0.5)  # its shell sets the trap
            await gate.say("job", f"slurm-{job}", "HOLD")
            await until(told.exists, "told", logs=service.log)
            await until(lambda: cluster.job_state(job) == "PENDING", "requeued", logs=service.log)
            assert cluster.job_field(job, "Priority") == "0"
            await gate.say("job", f"slurm-{job}", "RUN")
            await until(lambda: cluster.job_field(job, "Priority") != "0", "released", logs=service.log)
            assert cluster.job_state(job) == "PENDING"  # Slurm itself lets some seconds pass


async def test_one_task_of_an_array_is_stopped_alone_and_a_heterogeneous_job_as_a_whole(
    free, broker, tmp_path
):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        async with speaking(broker) as gate:
            array = cluster.submit("exec sleep 1000", "--array=1-2")
            tasks = [f"{array}_1", f"{array}_2"]
            leader = cluster.submit("exec sleep 1000", "-N1", ":", "-N1")
            everything = [*tasks, f"{leader}+0", f"{leader}+1"]

            def states():
                return [cluster.run("squeue", "-h", "-o%T", "-j", job) for job in tasks] + cluster.run(
                    "squeue", "-h", "-o%T", "-j", leader
                ).split()

            await until(lambda: states() == ["RUNNING"] * len(everything), "they run")
            # its last task has the number of the array itself
            await gate.say("job", f"slurm-{array}", "HOLD")
            await gate.say("job", f"slurm-{int(leader) + 1}", "HOLD")
            stopped_ones = ["RUNNING", "SUSPENDED", "SUSPENDED", "SUSPENDED"]
            await until(
                lambda: states() == stopped_ones, "stopped", logs=lambda: f"{states()}{service.log()}"
            )
            await gate.say("job", f"slurm-{array}", "RUN")
            await gate.say("job", f"slurm-{int(leader) + 1}", "RUN")
            await until(lambda: states() == ["RUNNING"] * 4, "resumed", logs=service.log)


async def test_what_runs_on_a_held_node_is_suspended_or_requeued_where_that_is_chosen(free, broker, tmp_path):
    cluster = free
    sets = ("schedulers.slurm.on_node_hold=suspend", "schedulers.slurm.on_node_repair=requeue")
    with obeying(cluster, broker, tmp_path, *sets) as service:
        async with speaking(broker) as gate:
            job, other = running_job(cluster), running_job(cluster, node="gpu1")
            await until(lambda: {cluster.job_state(one) for one in (job, other)} == {"RUNNING"}, "they run")
            await gate.say("node", "gpu0", "HOLD")
            await until(lambda: cluster.job_state(job) == "SUSPENDED", "suspended", logs=service.log)
            assert cluster.job_state(other) == "RUNNING"
            await gate.say("node", "gpu0", "RUN")
            await until(lambda: cluster.job_state(job) == "RUNNING", "resumed", logs=service.log)
            await gate.say("node", "gpu1", "REPAIR", pace=0.0)
            await until(lambda: cluster.job_state(other) == "PENDING", "requeued", logs=service.log)


async def test_two_services_never_share_a_journal_and_undo_all_waits_for_neither(free, broker, tmp_path):
    cluster = free
    with obeying(cluster, broker, tmp_path) as service:
        await until(lambda: (tmp_path / "slurm.lock").exists(), "started")
        await asyncio.sleep(0.2)
        done = service.call("--undo-all")
        assert done.returncode == 1
        assert "runs already; stop it first" in done.stderr
