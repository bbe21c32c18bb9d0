"""The agent's own sources, opened and read a few times, in a process that can be killed.

A driver may hang where not even a signal ends the call: then this process is left behind, and the
one that asks goes on. Run as `python -m thermogate.cli.checks.sensing`, settings on its input.
"""

import asyncio
import contextlib
import os
import subprocess
import sys

import msgspec

from thermogate.agent.config import AgentSettings
from thermogate.cli import child, live
from thermogate.core.clock import SystemClock
from thermogate.core.model import DeviceInfo, EventKind, SourceReport

_TICKS = 3
"""Utilization and power from counters come with the second; the third shows who still has not answered."""
_PERIOD_S = 1.0
_HUNG_AFTER_S = 1.0
"""Silence that counts as a hang here: nobody waits three periods for a doctor."""


class Happened(msgspec.Struct, frozen=True):
    """An event that a source reported; `name` is of the device, "" for the source itself."""

    event: EventKind
    name: str
    text: str


class Sensed(msgspec.Struct, frozen=True):
    """What sources found and what their devices measured.

    `failed` says why there was no answer at all, and `hung` whether somebody still waits for one.
    `fields` has for each device, by a name such as "gpu0", the fields that it gave at least once.
    """

    failed: str = ""
    hung: bool = False
    reports: tuple[SourceReport, ...] = ()
    devices: tuple[DeviceInfo, ...] = ()
    fields: dict[str, tuple[str, ...]] = {}
    happened: tuple[Happened, ...] = ()
    sweep_s: float = 0.0

    def report(self, source: str) -> SourceReport | None:
        """What one source said."""
        return next((report for report in self.reports if report.source == source), None)


def ask(settings: AgentSettings, *, driver_s: float, timeout_s: float) -> Sensed:
    """Open and read the sources of `settings`; a driver gets `driver_s` to start, all of it `timeout_s`."""
    patient = msgspec.structs.replace(
        settings,
        period_s=min(_PERIOD_S, settings.period_s),
        sampler=msgspec.structs.replace(
            settings.sampler, open_timeout_s=2 * driver_s, hung_after_s=_HUNG_AFTER_S
        ),
        nvidia=msgspec.structs.replace(settings.nvidia, open_timeout_s=driver_s, hung_after_s=_HUNG_AFTER_S),
        amd=msgspec.structs.replace(settings.amd, open_timeout_s=driver_s, hung_after_s=_HUNG_AFTER_S),
    )
    # -P: who asks may be root, standing in a folder where others can put modules
    command = [sys.executable, "-P", "-m", __name__]
    with contextlib.ExitStack() as stack:
        # Not `with Popen`, which would wait for a process that cannot be killed.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        stack.callback(child.end, process)
        try:
            out, err = process.communicate(msgspec.json.encode(patient), timeout_s)
        except subprocess.TimeoutExpired:
            return Sensed(failed=f"the sensors have not answered within {timeout_s:g} s", hung=True)
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        return Sensed(failed=f"reading the sensors ended with {process.returncode}: {' '.join(last)}")
    return msgspec.json.decode(out, type=Sensed)


async def sense(settings: AgentSettings) -> Sensed:
    """What the sources of `settings` say in three ticks."""
    sampler = live.sampler(settings, SystemClock())
    await sampler.open()
    fields: dict[str, set[str]] = {}
    happened: dict[tuple[EventKind, str], Happened] = {}
    sweep_s, count = 0.0, 0
    async for tick in sampler.ticks():
        for reading in tick.readings:
            fields.setdefault(reading.kind + reading.device, set()).update(reading.fields)
        for event in tick.events:
            name = event.device_kind + event.device
            happened[event.event, name] = Happened(event.event, name, event.text)
        sweep_s = sampler.counters().get("sweep_s", 0.0)
        count += 1
        if count == _TICKS:
            break
    return Sensed(
        reports=sampler.reports(),
        devices=sampler.devices(),
        fields={name: tuple(sorted(found)) for name, found in fields.items()},
        happened=tuple(happened.values()),
        sweep_s=sweep_s,
    )


def main() -> None:
    """Settings from standard input, `Sensed` to standard output, both JSON."""
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=AgentSettings)
    with asyncio.Runner() as runner:
        sensed = runner.run(sense(settings))
        sys.stdout.buffer.write(msgspec.json.encode(sensed))
        sys.stdout.flush()
        os._exit(0)  # threads that hang in a driver would hold up every other way to end


if __name__ == "__main__":
    main()
