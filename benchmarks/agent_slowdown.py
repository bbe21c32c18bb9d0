"""What the agent takes from a CPU-bound job on the same cores, with a confidence interval.

One worker a core, pinned, multiplies matrices that fill its cache; the agent runs as in agent_cost.
Turn by turn, in random order within each pair, the agent is let run and held by SIGSTOP: that compares
neighbouring seconds, and leaves out the start of the process, which no job of hours notices. After each
switch a second is thrown away: in it the agent makes up for the ticks that it missed.

The agent takes from a job in two ways, which are measured apart since one is exact and one is not:
  taken    processor time in which the job cannot run: all that the agent uses, where no core is free.
           The scheduler accounts it to the nanosecond.
  spoiled  caches that the job has to fill again: work in each processor second of the job is less for
           some milliseconds after a tick. In each second the work around the tick is compared with the
           work of the rest of that second, and that in seconds with the agent and seconds without.
Time that other programs take is in neither (the broker and the collector of this benchmark are such).
Work by the wall clock, in which all of this and all other noise is, is printed beside it.

Means are trimmed, intervals a bootstrap over pairs. A table for people; the last line is one JSON
object for programs.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from ctypes import c_uint64
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, NamedTuple

import agent_cost
import numpy as np
import stub_node
import usage

TICKS = 4
"""Seconds of each turn that are measured, with a tick of the agent in each."""
BEFORE_S, AROUND_S = 0.005, 0.045
"""The part of a second that a tick spoils begins so long before it and lasts so long: its work takes
4 ms, later on busy cores, and a second-level cache is full again 0.1 ms after it."""
LATE_S = 0.01
"""A tick is left out when this program itself comes so much too late to it, or the job did nothing."""
REST_FROM_S, REST_S = 0.15, 0.60
"""The part of the second to compare with, from the tick on."""
SIZE = 128
"""Rows of the matrices: three of them are 384 KiB, which fills the second-level cache of most cores."""
ASLEEP_S = 0.2
"""So long before a tick turns begin and end: the agent sleeps."""
TRIM = 0.25
"""Share left out at each end of a mean: ticks and turns at which something else happened."""
RESAMPLES = 10_000
WARM_UP_S = 5.0


class Job(NamedTuple):
    """Its workers; what each has done so far, and in how many nanoseconds of its own processor time.

    They say it themselves after each product: what one process reads of another's processor time is
    as old as the scheduler's last tick, 1 to 10 ms.
    """

    workers: list[multiprocessing.Process]
    done: Sequence[int]
    took_ns: Sequence[int]


class Now(NamedTuple):
    """Products done, processor seconds of job and agent, and the clock, at one instant."""

    work: int
    job_s: float
    agent_s: float
    clock_s: float


class Turn(NamedTuple):
    """Some seconds with or without the agent."""

    wall_rate: float
    taken_ratio: float
    """Processor time of the agent over that of one core."""
    around: tuple[float, ...]
    """For each tick log(work a processor second around it / in the rest of the second)."""


def main() -> None:
    """Run pairs of turns for the time given, and print."""
    args = _arguments()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # it is read when numpy is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    cores = sorted(os.sched_getaffinity(0))
    print(agent_cost.machine())
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stub_node.Hardware(folder / "hardware") as hardware, stub_node.broker(folder / "broker") as url:
            for case, busy in {"every core busy": cores, "one core free": cores[1:]}.items():
                if busy:
                    pairs = run(folder / f"agent{len(busy)}", url, hardware, busy, args)
                    found[case] = result(pairs, 0 if len(busy) < len(cores) else len(cores))
                    _show(case, found[case])
    worst = found["every core busy"]
    print(json.dumps({"slowdown_pct": worst["slowdown_pct"], "ci95": worst["ci95"], "cases": found}))


def run(
    folder: Path, url: str, hardware: stub_node.Hardware, cores: Sequence[int], args: argparse.Namespace
) -> list[tuple[Turn, Turn]]:
    """Turns (without, with the agent) of a job on `cores`; the agent may run anywhere."""
    with stub_node.Collector(url) as collector, stub_node.agent(folder, url, hardware) as process:
        stub_node.wait_for_messages(collector, 3, process, folder)
        job = _start(cores)
        try:
            time.sleep(WARM_UP_S)
            due_s = time.monotonic() - (time.time_ns() - collector.newest_ns) / 1e9  # of a tick
            return _turns(process.pid, job, due_s, args)
        finally:
            os.kill(process.pid, signal.SIGCONT)
            for worker in job.workers:
                worker.kill()
                worker.join()


def result(pairs: Sequence[tuple[Turn, Turn]], saturated: int) -> dict[str, Any]:
    """Slowdown of a job on `saturated` cores, 0: one is left to the agent; per cent, with intervals."""
    rng = np.random.default_rng(1)
    picked = (rng.integers(0, len(pairs), len(pairs)) for _ in range(RESAMPLES))
    resampled = [_parts([pairs[index] for index in indices], saturated) for indices in picked]
    found: dict[str, Any] = {"pairs": len(pairs)}
    for name, value in _parts(pairs, saturated).items():
        ends = np.quantile([parts[name] for parts in resampled], [0.025, 0.975])
        found[f"{name}_pct"] = round(100 * value, 4)
        found["ci95" if name == "slowdown" else f"{name}_ci95"] = [round(100 * float(end), 4) for end in ends]
    cpu_ratio = sum(ran.taken_ratio for _, ran in pairs) / len(pairs)
    return {**found, "agent_cpu_ms_per_s": round(1000 * cpu_ratio, 2)}


def _parts(pairs: Sequence[tuple[Turn, Turn]], saturated: int) -> dict[str, float]:
    """Every part of the slowdown, from some pairs."""
    held, ran = ([each for pair in pairs for each in pair[index].around] for index in (0, 1))
    spoiled = AROUND_S * (_trimmed_mean(held) - _trimmed_mean(ran))
    taken = sum(turn.taken_ratio for _, turn in pairs) / len(pairs) / saturated if saturated else 0.0
    wall = _trimmed_mean([math.log(without.wall_rate / turn.wall_rate) for without, turn in pairs])
    return {"taken": taken, "spoiled": spoiled, "slowdown": taken + spoiled, "wall": wall}


def _trimmed_mean(values: Sequence[float]) -> float:
    ordered = np.sort(values)
    cut = int(TRIM * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())


def _turns(pid: int, job: Job, tick_s: float, args: argparse.Namespace) -> list[tuple[Turn, Turn]]:
    """(without, with the agent) of each pair; `tick_s` is when some tick was, and they come every second."""
    rng = random.Random(args.seed)
    tick_s += math.ceil(time.monotonic() - tick_s)
    pairs = []
    for _ in range(max(8, round(args.seconds / 2 / (2 * (1 + TICKS))))):
        turns = {}
        for running in rng.sample((True, False), 2):
            _sleep_until(tick_s - ASLEEP_S)
            os.kill(pid, signal.SIGCONT if running and not args.null else signal.SIGSTOP)
            tick_s += 1.0
            turns[running] = _turn(pid, job, tick_s)
            tick_s += TICKS
        pairs.append((turns[False], turns[True]))
    return pairs


def _turn(pid: int, job: Job, tick_s: float) -> Turn:
    """Measure whole seconds, and around each tick in them, the first at `tick_s`."""
    began, around = _at(tick_s - ASLEEP_S, pid, job), []
    for due_s in (tick_s + tick for tick in range(TICKS)):
        before, after = (_at(due_s - BEFORE_S + wait_s, pid, job) for wait_s in (0.0, AROUND_S))
        rest, end = (_at(due_s + REST_FROM_S + wait_s, pid, job) for wait_s in (0.0, REST_S))
        on_time = abs(before.clock_s - due_s + BEFORE_S) < LATE_S
        lasted = abs(after.clock_s - before.clock_s - AROUND_S) < LATE_S
        if on_time and lasted and before.work < after.work and rest.work < end.work:
            around.append(math.log(_rate(before, after) / _rate(rest, end)))
    ended = _at(tick_s + TICKS - ASLEEP_S, pid, job)
    took_s = ended.clock_s - began.clock_s
    return Turn((ended.work - began.work) / took_s, (ended.agent_s - began.agent_s) / took_s, tuple(around))


def _rate(then: Now, now: Now) -> float:
    """Products in a processor second of the job."""
    return (now.work - then.work) / (now.job_s - then.job_s)


def _at(due_s: float, pid: int, job: Job) -> Now:
    _sleep_until(due_s)
    return Now(sum(job.done), sum(job.took_ns) / 1e9, usage.cpu_s(pid), time.monotonic())


def _start(cores: Sequence[int]) -> Job:
    """A worker on each core."""
    done, took_ns = RawArray(c_uint64, len(cores)), RawArray(c_uint64, len(cores))
    workers = [
        multiprocessing.Process(target=_work, args=(core, index, done, took_ns), daemon=True)
        for index, core in enumerate(cores)
    ]
    for worker in workers:
        worker.start()
    return Job(workers, done, took_ns)


def _work(core: int, index: int, done: Any, took_ns: Any) -> None:
    os.sched_setaffinity(0, {core})
    left, right, product = np.ones((SIZE, SIZE)), np.ones((SIZE, SIZE)), np.empty((SIZE, SIZE))
    while True:
        np.matmul(left, right, out=product)
        took_ns[index] = time.thread_time_ns()
        done[index] += 1


def _sleep_until(due_s: float) -> None:
    time.sleep(max(0.0, due_s - time.monotonic()))


def _show(case: str, found: dict[str, Any]) -> None:
    print(f"{case}: {found['pairs']} pairs, the agent took {found['agent_cpu_ms_per_s']} ms a second")
    for name in ("taken", "spoiled", "slowdown", "wall"):
        low, high = found["ci95" if name == "slowdown" else f"{name}_ci95"]
        print(f"  {name:10} {found[f'{name}_pct']:+8.3f} %   95 % interval {low:+.3f} to {high:+.3f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=330.0, help="how long, half of it for each case")
    parser.add_argument("--null", action="store_true", help="never let the agent run: what noise alone gives")
    parser.add_argument("--seed", type=int, default=1, help="of the order within pairs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
