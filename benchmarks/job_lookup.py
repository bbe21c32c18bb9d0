"""What it costs to tell whose work 8 GPUs do: looks at the real /proc.

    python benchmarks/job_lookup.py [--looks N]

A process for each of GPUS x PROCESSES is started and stays; a look is one call of `Jobs.step` with
all of them, as it comes every 5 s. CPU time is that of the whole process, thread and file included,
less that of sleeping.
The steady clock goes 5 s a look, so that what is read again and saved from time to time is in it.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from thermogate.agent.config import JobSettings
from thermogate.agent.jobs import Jobs
from thermogate.agent.sources.host import HostSettings

GPUS = 8
PERIOD_S = 5.0


class Clock:
    """Goes one period a look."""

    now_s = 0.0

    def utc_ns(self) -> int:
        return round(self.now_s * 1e9)

    def steady_s(self) -> float:
        return self.now_s

    async def sleep_until(self, steady_s: float) -> None:
        self.now_s = max(self.now_s, steady_s)


def measure(processes: int, looks: int) -> dict[str, float]:
    """CPU milliseconds of the first look, and a second when a look comes every 5 s."""
    children = [subprocess.Popen(["sleep", "600"]) for _ in range(GPUS * processes)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        jobs = Jobs("n1", JobSettings(), HostSettings(), Path(folder) / "jobs.json", clock)
        groups = [children[n * processes : (n + 1) * processes] for n in range(GPUS)]
        users = {("gpu", str(n)): tuple(child.pid for child in group) for n, group in enumerate(groups)}
        first_ms = _cpu_ms(lambda: _look(jobs, users, clock))
        idle_ms = sum(_cpu_ms(_sleep) for _ in range(looks))
        rest_ms = sum(_cpu_ms(lambda: _look(jobs, users, clock)) for _ in range(looks)) - idle_ms
    for child in children:
        child.kill()
        child.wait()
    return {"first_ms": first_ms, "cpu_ms_per_s": rest_ms / (looks * PERIOD_S)}


def _look(jobs: Jobs, users: dict, clock: Clock) -> None:
    """The step of a later tick brings the events of the look."""
    clock.now_s += PERIOD_S
    jobs.step(users, clock.utc_ns())
    _sleep()
    jobs.step({}, clock.utc_ns())


def _sleep() -> None:
    time.sleep(0.1)


def _cpu_ms(work: Callable[[], None]) -> float:
    began_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - began_ns) / 1e6


def main() -> None:
    """Print a table, and JSON as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--looks", type=int, default=120)
    looks = parser.parse_args().looks
    results = {str(processes): measure(processes, looks) for processes in (1, 2, 8, 25)}
    print("processes a GPU   first look ms   CPU ms/s")
    for processes, cost in results.items():
        print(f"{processes:>15}   {cost['first_ms']:13.2f}   {cost['cpu_ms_per_s']:8.4f}")
    print(json.dumps({"gpus": GPUS, "period_s": PERIOD_S, "processes": results}))


if __name__ == "__main__":
    main()
