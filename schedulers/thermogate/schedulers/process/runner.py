"""`thermogate run`: one program, as the gate says."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping

from thermogate.core.clock import Clock
from thermogate.core.errors import UnavailableError
from thermogate.core.gate_messages import Outcome
from thermogate.schedulers.following import Following
from thermogate.schedulers.process.child import Child
from thermogate.schedulers.process.options import RunOptions
from thermogate.schedulers.process.pace_file import Pace, PaceFile
from thermogate.schedulers.process.terminal import Terminal
from thermogate.schedulers.reporting import Reporting
from thermogate.schedulers.standing import Standing, Target, printable

log = logging.getLogger(__name__)

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PASSED = (*_ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGALRM)
_AT_TERMINAL = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Runner:
    """`await Runner(...).run()` inside `async with` of the watch: the exit code of the program.

    It runs, checkpoints (until `_until_s`), is frozen, goes on though held, is ending (SIGTERM was sent,
    SIGKILL follows at `_until_s`) or leaving: somebody has told it to end, which may take until then.
    """

    def __init__(
        self, options: RunOptions, watch: Following, clock: Clock, host: str, environ: Mapping[str, str]
    ) -> None:
        self._options = options
        self._watch = watch
        self._clock = clock
        self._reporting = Reporting("run", host, watch, clock)
        self._environ = dict(environ)
        self._terminal = Terminal()
        self._pace_file = PaceFile()
        self._child = Child((), {})
        self._news = asyncio.Event()
        self._phase = "none"
        self._until_s = float("inf")
        self._got = 0
        self._held_by = options.gates[0]

    async def run(self) -> int:
        """Wait while held, run, obey, and return the exit code; 128 and its number after a signal that came
        while nothing ran."""
        self._environ["THERMOGATE_GATE"] = ",".join("/".join(gate) for gate in self._options.gates)
        if self._options.pace_env:
            self._environ["THERMOGATE_PACE_FILE"] = str(self._pace_file.open())
        self._terminal.open()
        self._child = Child(self._options.command, self._environ)
        self._take_signals()
        following = [asyncio.create_task(one) for one in (self._follow(), self._hear())]
        try:
            await self._heard()
            return await self._run_until_done()
        finally:
            for task in following:
                task.cancel()
            self._child.close()
            self._terminal.close()
            self._pace_file.close()

    async def _heard(self) -> None:
        """What the broker retains is known, or it does not answer, or a signal has come."""
        until_s = self._clock.steady_s() + self._options.hear_s
        while not (self._watch.heard.is_set() or self._got or self._clock.steady_s() >= until_s):
            self._news.clear()
            await self._first_of(self._news, until_s)

    async def _run_until_done(self) -> int:
        while True:
            await self._wait_released()
            if self._got:
                return 128 + self._got
            self._start()
            code = await self._supervise()
            by_hold = self._phase == "ending"
            self._enter("none")
            if not (self._options.restart and by_hold):
                return code
            _say(f"it has ended with {code}, and starts again when it is released")

    async def _wait_released(self) -> None:
        told: tuple[Target, str] | None = None
        while not self._got:
            self._news.clear()
            target, standing = self._gravest()
            self._look(target, standing)
            if not standing.held:
                if told is not None:
                    _say(f"{'/'.join(told[0])} is released")
                    self._report_release(told[0], "start the program")
                return
            if told != (target, standing.why):
                _say(f"waits for {'/'.join(target)}: {standing.state}: {standing.why}")
                self._report(target, standing, "done", "not start the program")
                told = (target, standing.why)
            await self._news.wait()

    def _start(self) -> None:
        self._child.start()
        self._phase = "runs"
        self._terminal.give(self._child.pid)

    async def _supervise(self) -> int:
        while True:
            self._news.clear()
            self._child.reap()
            if self._child.exit_code is not None and not self._leaves_some():
                self._terminal.take()
                return self._child.exit_code
            if self._child.stopped_by in _AT_TERMINAL and (self._terminal.ours or self._phase == "frozen"):
                self._stop_with_it()
                continue
            self._obey(*self._gravest())
            await self._first_of(self._news, self._until_s)

    def _leaves_some(self) -> bool:
        """Whether a hold has ended it, but not yet what it has started: workers in sessions of their own."""
        return (
            self._phase == "ending" and self._until_s < float("inf") and self._child.send_all(signal.SIGTERM)
        )

    def _obey(self, target: Target, standing: Standing) -> None:
        self._look(target, standing)
        due = self._clock.steady_s() >= self._until_s
        match self._phase:
            case "runs" if standing.held:
                self._checkpoint(target, standing)
            case "checkpoints" | "goes on" if not standing.held:
                self._enter("runs")
            case "checkpoints" if due:
                self._hold(target, standing)
            case "frozen" if not standing.held:
                self._release()
            case "leaving" if due:  # it has handled the signal and stays
                self._enter("runs")
            case "ending" if due:
                _say("it has not ended: SIGKILL")
                self._child.send_all(signal.SIGKILL)
                self._until_s = float("inf")

    def _checkpoint(self, target: Target, standing: Standing) -> None:
        _say(f"{'/'.join(target)}: {standing.state}: {standing.why}")
        number = self._options.checkpoint_signal
        told = number is not None and self._child.checkpoint(number)
        if number is not None and told:
            _say(f"{number.name}, and {self._options.checkpoint_s:g} s for a checkpoint")
        self._enter("checkpoints", self._options.checkpoint_s if told else 0.0)
        if not told:
            self._hold(target, standing)

    def _hold(self, target: Target, standing: Standing) -> None:
        self._held_by = target
        match self._options.on_hold:
            case "stop":
                self._terminal.take()
                count = self._child.freeze()
                self._enter("frozen")
                self._report(target, standing, "done", "stop the program", f"SIGSTOP to {count} processes")
            case "term":
                self._child.send(signal.SIGTERM)
                self._enter("ending", self._options.kill_after_s)
                self._report(target, standing, "done", "end the program", "SIGTERM")
            case "wait":
                self._enter("goes on")
                self._report(target, standing, "nothing", "the program goes on; the next start waits")

    def _release(self) -> None:
        _say("released")
        self._terminal.give(self._child.pid)
        self._child.thaw()
        self._enter("runs")
        self._report_release(self._held_by, "wake the program", "SIGCONT")

    def _enter(self, phase: str, for_s: float = float("inf")) -> None:
        self._phase = phase
        self._until_s = self._clock.steady_s() + for_s

    def _stop_with_it(self) -> None:
        """Ctrl-Z: stop as the program has, for the shell to see, and wake it when we are woken."""
        number, self._child.stopped_by = self._child.stopped_by, 0
        if number != signal.SIGTSTP and self._phase != "frozen":  # it came to the terminal before its turn
            self._terminal.give(self._child.pid, asked=True)
            self._child.send(signal.SIGCONT)
            return
        self._terminal.take()
        self._stop()
        self._woken()

    def _stop(self) -> None:
        """Stop, and all that the shell has started with us; returns at SIGCONT."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        os.killpg(os.getpgrp(), signal.SIGTSTP)
        self._take_signals()

    def _woken(self) -> None:
        """SIGCONT: by a shell's fg or bg, or by whoever has stopped us."""
        if self._phase not in ("none", "frozen") and self._child.exit_code is None:
            self._terminal.give(self._child.pid)
            self._child.send(signal.SIGCONT)

    def _suspended(self) -> None:
        """SIGTSTP: Ctrl-Z while the terminal is ours, or from anybody."""
        if self._phase in ("none", "frozen"):
            self._stop()
        else:
            self._child.send(signal.SIGTSTP)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._news.set)
        loop.add_signal_handler(signal.SIGCONT, self._woken)
        for number in (*_PASSED, signal.SIGTSTP):
            if signal.getsignal(number) is signal.SIG_IGN:  # as by nohup: the program inherits that
                continue
            if number is signal.SIGTSTP:
                loop.add_signal_handler(number, self._suspended)
            else:
                loop.add_signal_handler(number, self._pass_on, number)

    def _pass_on(self, number: signal.Signals) -> None:
        self._news.set()
        if self._phase == "none" or self._child.exit_code is not None:
            if number in _ENDING:
                self._got = number
            return
        self._child.send(number)
        if number in _ENDING:
            self._child.thaw()  # a stopped program cannot end
            self._enter("leaving", self._options.kill_after_s)

    async def _hear(self) -> None:
        await self._watch.heard.wait()
        self._news.set()

    async def _follow(self) -> None:
        async for _change in self._watch.changes():
            self._news.set()

    def _gravest(self) -> tuple[Target, Standing]:
        """Of all gates the one that asks for most: a hold before a run, then the least pace."""
        standings = [(gate, self._watch.standing(*gate)) for gate in self._options.gates]
        return min(standings, key=lambda one: (not one[1].held, one[1].pace, one[1].decision is None))

    def _look(self, target: Target, standing: Standing) -> None:
        """What is told whatever the program does: the pace, and what would be."""
        pace = min((self._watch.standing(*gate).pace for gate in self._options.gates), default=1.0)
        with contextlib.suppress(UnavailableError):
            self._pace_file.write(Pace(standing.state, pace, standing.why))
        if standing.would is not None:
            what = f"hold the program ({standing.would.state}), pace {standing.would.pace:g}"
            self._report(target, standing, "would", what)

    def _report(self, target: Target, standing: Standing, outcome: Outcome, text: str, *actions: str) -> None:
        self._reporting.say(target, standing, outcome, text, actions)

    def _report_release(self, target: Target, text: str, *actions: str) -> None:
        self._report(target, self._watch.standing(*target), "undone", text, *actions)

    async def _first_of(self, event: asyncio.Event, steady_s: float) -> None:
        at_s = min(steady_s, self._clock.steady_s() + 3600.0)
        waiting = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._clock.sleep_until(at_s))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()


def _say(text: str) -> None:
    """A line for whoever watches."""
    shown = printable(text)
    with contextlib.suppress(OSError):
        print(f"thermogate run: {shown[:1000]}", file=sys.stderr, flush=True)
