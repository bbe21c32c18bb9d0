"""The trainers' `Gate` and the PyTorch helpers: real trainings on the CPU, a real Mosquitto, real keys."""

import asyncio
import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.integration.gatekeeper import gatekeeper
from tests.integration.trainings import need
from tests.servers import free_port, mosquitto
from thermogate.core.errors import ConfigError
from thermogate.schedulers.trainer import Gate

pytestmark = pytest.mark.integration

JOB = ("job", "train-7")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


@pytest.fixture
async def keeper(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as keeper:
        yield keeper


@pytest.fixture
async def gate(broker, tmp_path, keeper):
    gate = Gate("job/train-7", broker=broker, trust_file=tmp_path / "trusted", report_every_s=0.0)
    await asyncio.to_thread(gate.open)
    yield gate
    await asyncio.to_thread(gate.close)


async def until(holds, timeout_s=30.0):
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, "not in time"
        await asyncio.sleep(0.01)


async def test_a_gate_says_held_pace_and_why_and_goes_back_to_run_by_expiry(gate, keeper):
    assert (gate.held, gate.pace, gate.why) == (False, 1.0, "")
    await keeper.say(JOB, "HOLD", 0.5, for_s=2.0)
    await until(lambda: gate.held)
    assert gate.pace == 0.5
    assert gate.why.startswith("gpu0 is 3 C from its limit")
    await until(lambda: not gate.held)
    assert gate.pace == 1.0


async def test_waiting_saves_first_says_so_and_goes_on_when_released(gate, keeper):
    saved = []
    await keeper.say(JOB, "HOLD")
    await until(lambda: gate.held)
    waiting = asyncio.create_task(asyncio.to_thread(gate.wait_if_held, lambda: saved.append(gate.held)))
    done = await keeper.heard(lambda said: said.outcome == "done")
    assert (done.scheduler, done.text) == ("trainer", "save a checkpoint and wait")
    assert saved == [True]
    assert not waiting.done()
    await keeper.say(JOB, "RUN")
    assert await asyncio.wait_for(waiting, 30) > 0.0
    assert (await keeper.heard(lambda said: said.outcome == "undone")).text == "go on"
    assert gate.wait_if_held(lambda: saved.append("again")) == 0.0
    assert saved == [True]


async def test_a_hold_at_no_pace_is_saved_at_once_and_its_sleep_is_not_made_up_for_after_it(gate, keeper):
    def steps(count):
        for _ in range(count):
            time.sleep(0.2)
            gate.keep_pace()
            gate.wait_if_held(saved.set)

    saved = threading.Event()
    await asyncio.to_thread(steps, 2)
    await keeper.say(JOB, "HOLD", 0.0)
    await until(lambda: gate.held)
    training = asyncio.create_task(asyncio.to_thread(steps, 2))
    await until(saved.is_set, 8.0)  # a hundredth of the time for steps would be sleeps of 10 s
    await keeper.say(JOB, "RUN", 0.9)
    await asyncio.wait_for(training, 8.0)


async def test_shadow_unsigned_and_foreign_decisions_hold_nobody(gate, keeper):
    await keeper.say(JOB, "HOLD", sign=False)
    await keeper.say(JOB, "HOLD", mode="shadow")
    await until(lambda: gate.why)
    assert (gate.held, gate.pace) == (False, 1.0)


async def test_reports_are_heard_and_leave_out_what_is_no_number(gate, keeper):
    assert gate.report(step=3, loss=0.5, grad_norm=float("nan"), throughput_per_s=None, batch=8)
    report = await keeper.heard()
    assert (report.kind, report.target, report.step) == ("job", "train-7", 3)
    assert report.metrics == {"loss": 0.5, "batch": 8.0}


async def test_reports_come_no_more_often_than_they_may(broker, tmp_path, keeper):
    gate = Gate("job/train-7", broker=broker, trust_file=tmp_path / "trusted", report_every_s=3600.0)
    await asyncio.to_thread(gate.open)
    try:
        assert [gate.report(step=step) for step in range(100)] == [True] + 99 * [False]
    finally:
        await asyncio.to_thread(gate.close)


async def test_in_a_fork_it_says_run_and_nothing_hangs(gate, keeper):
    await keeper.say(JOB, "HOLD")
    await until(lambda: gate.held)
    read, write = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, read)
        pid = await asyncio.to_thread(_fork, gate, write)
        os.close(write)
        assert os.read(read, 100) == b"False 1.0 False 0.0"
        await asyncio.to_thread(os.waitpid, pid, 0)


def _fork(gate, write):
    pid = os.fork()
    if pid == 0:
        said = f"{gate.held} {gate.pace} {gate.report(step=1)} {gate.wait_if_held()}"
        os.write(write, said.encode())
        os._exit(0)
    return pid


async def test_pickled_it_is_closed_and_can_be_opened_again(gate, keeper):
    copy = pickle.loads(pickle.dumps(gate))
    assert (copy.opened, copy.held, copy.pace) == (False, False, 1.0)
    await keeper.say(JOB, "HOLD")
    await asyncio.to_thread(copy.open)
    await until(lambda: copy.held)
    await asyncio.to_thread(copy.close)


def test_without_a_broker_it_runs_and_closes_at_once():
    before = threading.active_count()
    gate = Gate("job/train-7", broker=f"mqtt://127.0.0.1:{free_port()}", verify=False, hear_s=0.1)
    with gate:
        assert (gate.held, gate.pace) == (False, 1.0)
        assert gate.wait_if_held() == 0.0
    assert threading.active_count() <= before


def test_without_keys_it_refuses_to_open_and_says_what_to_do():
    with pytest.raises(ConfigError, match="thermogate keys"):
        Gate("job/train-7", broker="mqtt://127.0.0.1:1").open()
    with pytest.raises(ConfigError, match="THERMOGATE_GATE"):
        Gate().open()


async def test_half_the_pace_is_half_of_the_time(gate, keeper):
    await keeper.say(JOB, "RUN", 0.5)
    await until(lambda: gate.pace == 0.5)

    def train():
        gate.keep_pace()
        began_s, computed_s = time.monotonic(), 0.0
        for _ in range(60):
            step_s = time.monotonic()
            while time.monotonic() < step_s + 0.01:
                pass
            computed_s += time.monotonic() - step_s
            gate.keep_pace()
        return computed_s / (time.monotonic() - began_s)

    share = await asyncio.to_thread(train)
    assert 0.2 < share < 0.55


async def test_a_training_that_was_held_learns_bit_for_bit_what_it_would_have(gate, keeper, tmp_path):
    need("torch")
    from tests.integration.torch_training import train

    plain = await asyncio.to_thread(train, None, None, 60)
    losses: list[float] = []
    file = tmp_path / "hold.pt"
    training = asyncio.create_task(asyncio.to_thread(train, gate, file, 60, losses))
    await until(lambda: len(losses) > 5)
    await keeper.say(JOB, "HOLD")
    await keeper.heard(lambda said: said.outcome == "done")
    assert file.exists()
    assert len(losses) < 60
    counted = len(losses)
    await asyncio.sleep(0.2)
    assert len(losses) == counted
    await keeper.say(JOB, "RUN")
    assert await asyncio.wait_for(training, 60) == plain
    resumed = await asyncio.to_thread(train, None, file, 60, [], True)
    assert resumed == plain[counted:]


async def test_two_ranks_wait_and_go_on_together_as_rank_0_is_told(broker, tmp_path, keeper):
    need("torch")
    port = free_port()
    program = [sys.executable, "-m", "tests.integration.torch_training", broker, str(tmp_path), str(port)]
    ranks = [
        await asyncio.create_subprocess_exec(
            *program, str(rank), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        for rank in range(2)
    ]
    try:
        for rank in ranks:
            assert (await asyncio.wait_for(rank.stdout.readline(), 60)) == b"trains\n", (
                await rank.stderr.read()
            )
        await keeper.say(JOB, "HOLD")
        await keeper.heard(lambda said: said.outcome == "done")
        await until(lambda: all((tmp_path / f"rank{rank}.pt").exists() for rank in range(2)))
        await keeper.say(JOB, "RUN")
        steps = {(await asyncio.wait_for(rank.communicate(), 60))[0] for rank in ranks}
        assert len(steps) == 1, steps
        assert b"waited at" in steps.pop()
    finally:
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                rank.kill()
