"""`thermogate run` with real programs on a real Mosquitto."""

import asyncio
import contextlib
import os
import pty
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.integration.gatekeeper import gatekeeper
from tests.servers import free_port, mosquitto
from thermogate.schedulers.process import tree

pytestmark = [pytest.mark.integration, pytest.mark.alone]

JOB = ("job", "train-7")

COUNTS = """
import signal, sys, time
def checkpoint(number, frame):
    print("checkpoint", n, flush=True)
signal.signal(signal.SIGUSR1, checkpoint)
n = 0
while True:
    n += 1
    print(n, flush=True)
    time.sleep(0.02)
"""


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


@pytest.fixture
async def gate(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as keeper:
        yield keeper


class Run:
    """A `thermogate run`, what it says, and a look at its program."""

    def __init__(self, process) -> None:
        self.process = process
        self.out = b""
        self.err = b""
        self.readers = []

    @property
    def pid(self):
        return self.process.pid

    def below(self):
        """States of its processes, its guard aside."""
        return {one.pid: one.state for one in tree.descendants(self.pid) if "guard" not in _command(one.pid)}

    async def until(self, holds, timeout_s=30.0):
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if holds():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(
            f"not within {timeout_s} s; stdout {self.out[-500:]!r}, stderr {self.err[-2000:]!r}"
        )

    async def says(self, text):
        await self.until(lambda: text in self.err.decode())

    async def prints(self, text):
        await self.until(lambda: text in self.out.decode())

    async def code(self):
        code = await asyncio.wait_for(self.process.wait(), 30)
        await asyncio.gather(*self.readers)
        return code

    async def stopped(self):
        await self.until(lambda: self.below() and set(self.below().values()) == {"T"})


@contextlib.asynccontextmanager
async def running(url, folder, *command, options=(), gates=("job/train-7",), env=None, **more):
    arguments = [sys.executable, "-m", "thermogate.cli.main", "run", "--broker", url, *options]
    arguments += [word for gate in gates for word in ("--gate", gate)]
    arguments += ["--set", f"schedulers.watch.trust_file={folder / 'trusted'}", "--", *command]
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=more.pop("stdin", asyncio.subprocess.DEVNULL),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "XDG_DATA_HOME": str(folder), **(env or {})},
        start_new_session=True,
        **more,
    )
    run = Run(process)

    async def read(stream, name):
        while chunk := await stream.read(65536):
            setattr(run, name, getattr(run, name) + chunk)

    run.readers = [
        asyncio.create_task(read(process.stdout, "out")),
        asyncio.create_task(read(process.stderr, "err")),
    ]
    try:
        yield run
    finally:
        below = list(run.below())
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*run.readers)


def _command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


async def test_a_program_that_is_not_held_runs_and_its_code_is_passed_on(gate, broker, tmp_path):
    async with running(broker, tmp_path, "sh", "-c", "echo $THERMOGATE_GATE; exit 7") as run:
        assert await run.code() == 7
        assert run.out == b"job/train-7\n"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "kill -KILL $$"), 137),
        (("sh", "-c", "kill -SEGV $$"), 139),
        (("/nonexistent/program",), 127),
        (("/etc/passwd",), 126),
        (("sh", "-c", "yes | head -1 > /dev/null"), 0),
    ],
)
async def test_ends_of_every_kind_have_the_codes_that_shells_give_them(gate, broker, tmp_path, command, code):
    async with running(broker, tmp_path, *command) as run:
        assert await run.code() == code


async def test_while_it_is_held_it_is_not_started_and_the_reason_is_told(gate, broker, tmp_path):
    await gate.say(JOB, "HOLD")
    async with running(broker, tmp_path, "echo", "started") as run:
        await run.says("waits for job/train-7: HOLD: gpu0 is 3 C from its limit")
        assert run.below() == {}
        assert b"\x1b" not in run.err
        await gate.say(JOB, "RUN")
        assert await run.code() == 0
        assert run.out == b"started\n"


async def test_a_signal_ends_the_wait(gate, broker, tmp_path):
    await gate.say(JOB, "HOLD")
    async with running(broker, tmp_path, "echo", "started") as run:
        await run.says("waits for")
        run.process.terminate()
        assert await run.code() == 143
        assert run.out == b""


async def test_on_hold_it_checkpoints_and_is_stopped_and_on_release_it_goes_on(gate, broker, tmp_path):
    options = ("--checkpoint-s", "0.5")
    async with running(broker, tmp_path, sys.executable, "-c", COUNTS, options=options) as run:
        await run.prints("10\n")
        await gate.say(JOB, "HOLD")
        await run.prints("checkpoint")
        await run.stopped()
        done = await gate.heard(lambda said: said.outcome == "done")
        assert (done.scheduler, done.actions) == ("run", ("SIGSTOP to 1 processes",))
        await asyncio.sleep(1.0)  # what it said before it was stopped may still be on its way
        counted = run.out
        await asyncio.sleep(0.5)
        assert run.out == counted
        await gate.say(JOB, "RUN")
        await run.until(lambda: len(run.out) > len(counted))
        assert (await gate.heard()).outcome == "undone"
        assert run.out.count(b"checkpoint") == 1


async def test_without_a_handler_nobody_gets_the_signal_that_would_end_it(gate, broker, tmp_path):
    async with running(broker, tmp_path, "sh", "-c", "sleep 100 | cat") as run:
        await run.until(lambda: len(run.below()) == 3)
        await gate.say(JOB, "HOLD")
        await run.stopped()
        await gate.say(JOB, "RUN")
        await run.until(lambda: set(run.below().values()) == {"S"})


async def test_what_went_into_a_session_of_its_own_is_stopped_and_woken_too(gate, broker, tmp_path):
    async with running(broker, tmp_path, "sh", "-c", "setsid sleep 100 & setsid -f sleep 101; wait") as run:
        await run.until(lambda: len(run.below()) == 3)
        await gate.say(JOB, "REPAIR", pace=0.0)
        await run.stopped()
        await gate.say(JOB, "RUN")
        await run.until(lambda: set(run.below().values()) == {"S"})


async def test_what_expires_holds_nobody_although_the_gate_is_dead(gate, broker, tmp_path):
    async with running(
        broker, tmp_path, sys.executable, "-c", COUNTS, options=("--checkpoint-s", "0")
    ) as run:
        await run.prints("3\n")
        await gate.say(JOB, "HOLD", for_s=2.0)
        await run.stopped()
        await run.until(lambda: set(run.below().values()) == {"S"})


async def test_term_ends_it_and_with_restart_it_starts_again_on_release(gate, broker, tmp_path):
    options = ("--on-hold", "term", "--restart", "--checkpoint-s", "0.1")
    command = ("sh", "-c", "echo up; trap 'echo saved; exit 0' TERM; while :; do sleep 0.1; done")
    async with running(broker, tmp_path, *command, options=options) as run:
        await run.prints("up")
        await gate.say(JOB, "HOLD")
        await run.prints("saved")
        await run.says("waits for")
        assert run.below() == {}
        await gate.say(JOB, "RUN")
        await run.until(lambda: run.out.count(b"up") == 2)
        run.process.terminate()
        assert await run.code() == 0


async def test_term_without_restart_ends_with_the_programs_code_and_kill_follows(gate, broker, tmp_path):
    options = ("--on-hold", "term", "--checkpoint-s", "0", "--kill-after-s", "0.3")
    command = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    async with running(broker, tmp_path, *command, options=options) as run:
        await run.prints("up")
        await gate.say(JOB, "HOLD")
        assert await run.code() == 137


@pytest.mark.parametrize("worker", ["exec sleep 1000", 'trap "" TERM; while :; do sleep 0.1; done'])
@pytest.mark.parametrize("program", ["wait", 'trap "" TERM; while :; do sleep 0.1; done'])
async def test_term_leaves_no_worker_in_a_session_of_its_own(gate, broker, tmp_path, worker, program):
    options = ("--on-hold", "term", "--kill-after-s", "1", "--checkpoint-signal", "none")
    script = f"echo {worker!r} > w.sh; setsid sh w.sh & echo ready; {program}"
    async with running(broker, tmp_path, "sh", "-c", script, options=options, cwd=tmp_path) as run:
        await run.prints("ready")
        await run.until(
            lambda: any("w.sh" in _command(pid) or "1000" in _command(pid) for pid in run.below())
        )
        below = list(run.below())
        await gate.say(JOB, "HOLD")
        assert await run.code() in (137, 143)
        assert not [pid for pid in below if tree.look(pid) and "sleep 0.1" not in _command(pid)]


async def test_with_wait_what_runs_goes_on(gate, broker, tmp_path):
    options = ("--on-hold", "wait", "--checkpoint-s", "0.1")
    async with running(broker, tmp_path, sys.executable, "-c", COUNTS, options=options) as run:
        await run.prints("3\n")
        await gate.say(JOB, "HOLD")
        assert (await gate.heard()).outcome == "nothing"
        counted = len(run.out)
        await run.until(lambda: len(run.out) > counted + 50)


async def test_shadow_and_what_is_not_signed_stop_nobody(gate, broker, tmp_path):
    async with running(
        broker, tmp_path, sys.executable, "-c", COUNTS, options=("--checkpoint-s", "0")
    ) as run:
        await run.prints("3\n")
        await gate.say(JOB, "HOLD", mode="shadow")
        assert (await gate.heard()).outcome == "would"
        await gate.say(JOB, "HOLD", sign=False)
        await run.says("not obeyed")
        counted = len(run.out)
        await run.until(lambda: len(run.out) > counted + 50)


async def test_sync_keeps_it_stopped(gate, broker, tmp_path):
    async with running(
        broker, tmp_path, sys.executable, "-c", COUNTS, options=("--checkpoint-s", "0")
    ) as run:
        await run.prints("3\n")
        await gate.say(JOB, "HOLD")
        await run.stopped()
        await gate.say(JOB, "SYNC", for_s=3.0)
        await asyncio.sleep(1.0)
        assert set(run.below().values()) == {"T"}
        await run.until(lambda: set(run.below().values()) == {"S"})


async def test_two_gates_hold_while_either_does_and_the_pace_is_the_least(gate, broker, tmp_path):
    node = ("node", "n17")
    program = "while :; do cat $THERMOGATE_PACE_FILE; echo; sleep 0.1; done"
    options = ("--pace-env", "--checkpoint-s", "0")
    gates = ("job/train-7", "node/n17")
    async with running(broker, tmp_path, "sh", "-c", program, options=options, gates=gates) as run:
        await run.prints('"pace":1.0')
        await gate.say(JOB, "RUN", 0.9)
        await gate.say(node, "RUN", 0.6)
        await run.prints('"pace":0.6')
        await gate.say(node, "HOLD", 0.5)
        await run.stopped()
        await gate.say(node, "RUN")
        await run.prints('"pace":0.9')


async def test_signals_are_passed_on_also_to_a_stopped_program(gate, broker, tmp_path):
    async with running(
        broker, tmp_path, sys.executable, "-c", COUNTS, options=("--checkpoint-s", "0")
    ) as run:
        await run.prints("3\n")
        run.process.send_signal(signal.SIGUSR1)
        await run.prints("checkpoint")
        await gate.say(JOB, "HOLD")
        await run.stopped()
        run.process.terminate()
        assert await run.code() == 143


async def test_what_somebody_else_has_stopped_stays_so_until_they_wake_it(gate, broker, tmp_path):
    async with running(
        broker, tmp_path, sys.executable, "-c", COUNTS, options=("--checkpoint-s", "0")
    ) as run:
        await run.prints("3\n")
        (program,) = run.below()
        os.kill(program, signal.SIGSTOP)
        await run.stopped()
        await gate.say(JOB, "HOLD")
        await gate.heard(lambda said: said.outcome == "done")
        await gate.say(JOB, "RUN")
        await gate.heard(lambda said: said.outcome == "undone")
        await asyncio.sleep(0.2)
        assert run.below() == {program: "T"}
        run.process.send_signal(signal.SIGCONT)
        await run.until(lambda: run.below() == {program: "S"})


async def test_killed_by_9_it_leaves_nothing_stopped_and_its_program_ends(gate, broker, tmp_path):
    command = ("sh", "-c", "setsid sleep 100 & sleep 102")
    async with running(broker, tmp_path, *command, options=("--checkpoint-s", "0")) as run:
        await run.until(lambda: len(run.below()) == 3)
        await gate.say(JOB, "HOLD")
        await run.stopped()
        below = {pid: one for pid in run.below() if (one := tree.look(pid))}
        program = next(pid for pid, one in below.items() if one.parent == run.pid)
        run.process.kill()
        try:
            await run.until(lambda: (one := tree.look(program)) is None or one.state == "Z")
            await run.until(lambda: all(one is None or one.state != "T" for one in map(tree.look, below)))
        finally:
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


async def test_killed_by_9_while_it_runs_takes_the_program_with_it(gate, broker, tmp_path):
    async with running(broker, tmp_path, "sleep", "100") as run:
        await run.until(lambda: [_command(pid) for pid in run.below()] == ["sleep\x00100\x00"])
        (program,) = run.below()
        run.process.kill()
        await run.until(lambda: (one := tree.look(program)) is None or one.state == "Z")


async def test_without_a_broker_it_runs(tmp_path):
    (tmp_path / "trusted").write_text("")
    url = f"mqtt://127.0.0.1:{free_port()}"
    async with running(
        url, tmp_path, "echo", "started", options=("--set", "schedulers.watch.verify=false")
    ) as run:
        assert await run.code() == 0
        assert run.out == b"started\n"


async def test_it_refuses_to_start_without_keys_and_says_what_to_do(tmp_path):
    async with running(
        "mqtt://127.0.0.1:1", tmp_path, "echo", options=("--set", "schedulers.watch.verify=true")
    ) as run:
        assert await run.code() == 78
        assert b"trusted" in run.err


@pytest.mark.skipif(not hasattr(pty, "openpty"), reason="no pseudo-terminals")
async def test_at_a_terminal_the_program_is_in_front_and_ctrl_c_reaches_it(gate, broker, tmp_path):
    terminal = Terminal(broker, tmp_path, "sh -c 'read line; echo got $line; exec sleep 100'")
    async with terminal:
        await terminal.sends("one\n", after="")
        await terminal.shows("got one")
        await gate.say(JOB, "HOLD")
        await terminal.shows("gpu0 is 3 C")
        # a key of the very moment in which it is stopped reaches nobody
        await gate.heard(lambda said: said.outcome == "done")
        await asyncio.sleep(1.0)
        await terminal.sends("\x1a", after="")
        await terminal.shows("Stopped")
        await terminal.sends("fg; echo end=$?\n", after="")
        await terminal.is_given_away()
        await terminal.sends("\x03", after="")
        await terminal.shows("end=130\r")


@pytest.mark.skipif(not hasattr(pty, "openpty"), reason="no pseudo-terminals")
async def test_at_a_terminal_ctrl_z_stops_both_and_fg_wakes_both(gate, broker, tmp_path):
    terminal = Terminal(broker, tmp_path, "sh -c 'echo ready; read line; echo got $line; exit 5'")
    async with terminal:
        await terminal.shows("ready")
        await terminal.sends("\x1a", after="")
        await terminal.shows("Stopped")
        await terminal.sends("fg; echo end=$?\n", after="")
        await terminal.is_given_away()
        await terminal.sends("two\n", after="")
        await terminal.shows("got two")
        await terminal.shows("end=5\r")


@pytest.mark.skipif(not hasattr(pty, "openpty"), reason="no pseudo-terminals")
async def test_in_a_pipeline_a_pager_keeps_the_terminal(gate, broker, tmp_path):
    pager = "sh -c 'read line; echo paged $line; read key < /dev/tty; echo key $key'"
    terminal = Terminal(broker, tmp_path, f"sh -c 'echo one; exec sleep 10' | {pager}")
    async with terminal:
        await terminal.shows("paged one")
        await terminal.sends("q\n", after="")
        await terminal.shows("key q")


@pytest.mark.skipif(not hasattr(pty, "openpty"), reason="no pseudo-terminals")
async def test_in_a_pipeline_who_reads_the_terminal_gets_it_and_ctrl_z_and_ctrl_c_reach_all(
    gate, broker, tmp_path
):
    program = "sh -c 'echo ready; sleep 1; read line; echo got $line; exec sleep 100'"
    terminal = Terminal(broker, tmp_path, f"{program} | cat")
    async with terminal:
        await terminal.shows("ready")
        await terminal.sends("\x1a", after="")
        await terminal.shows("Stopped")
        await terminal.sends("fg\n", after="")
        await terminal.is_given_away()
        await terminal.sends("two\n", after="")
        await terminal.shows("got two")
        await asyncio.sleep(1.0)
        await terminal.sends("\x03", after="")
        await terminal.sends("echo $((40 + 2))\n", after="")
        await terminal.shows("42\r")


class Terminal:
    """An interactive bash in a pseudo-terminal that has been told to run something under the gate."""

    def __init__(self, url, folder, command) -> None:
        run = (
            f"{sys.executable} -m thermogate.cli.main run --broker {url} --gate job/train-7 --checkpoint-s 0"
        )
        self._line = (
            f"{run} --set schedulers.watch.trust_file={folder / 'trusted'} -- {command}; echo code=$?\n"
        )
        self._folder = folder
        self._shown = ""

    async def __aenter__(self):
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], {**os.environ, "PS1": "$ "})
        os.set_blocking(self._fd, False)
        await self.sends(self._line, after="$ ")
        await self.is_given_away()
        return self

    async def __aexit__(self, *_):
        for one in tree.descendants(self._pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._fd)
        await asyncio.to_thread(os.waitpid, self._pid, 0)

    async def sends(self, text, *, after):
        if after:
            await self.shows(after)
        os.write(self._fd, text.encode())

    async def is_given_away(self, timeout_s=30.0):
        """Bash has put its job in front."""
        end_s = time.monotonic() + timeout_s
        while os.tcgetpgrp(self._fd) == self._pid:
            assert time.monotonic() < end_s
            await asyncio.sleep(0.02)

    async def shows(self, text, timeout_s=30.0):
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            with contextlib.suppress(BlockingIOError, OSError):
                self._shown += os.read(self._fd, 65536).decode(errors="replace")
            if text in self._shown.replace(self._line.rstrip(), ""):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{text!r} is not in {self._shown[-3000:]!r}")
