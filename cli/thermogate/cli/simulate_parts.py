"""Several processes that simulate one fleet, and the line that says how far they are."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from thermogate.cli import service
from thermogate.cli.simulate_run import Progress, sentence, together
from thermogate.core.errors import UnavailableError

_TELL_S = 10.0


def run(words: Sequence[str], count: int, folder: Path, *, quiet: bool) -> list[Progress]:
    """Run `thermogate WORDS --part I/COUNT` for each part to its end; they end when this process does.

    Raises UnavailableError when one of them fails.
    """
    done: list[Progress] = []

    async def main(stop: asyncio.Event) -> None:
        parts = [await _start(words, f"{part}/{count}") for part in range(count)]
        telling = None if quiet else asyncio.create_task(tell(lambda: _read(folder, count)))
        stopping = asyncio.create_task(_stop(stop, parts))
        try:
            statuses = await asyncio.gather(*(_ended(part, stop) for part in parts))
        finally:
            for task in filter(None, (telling, stopping)):
                task.cancel()
        done.extend(_read(folder, count))
        if any(statuses) or not all(part.ended for part in done):
            raise UnavailableError(f"a process of the simulation ended with status {max(map(abs, statuses))}")

    for part in range(count):
        _file(folder, part).unlink(missing_ok=True)
    service.serve(main)
    return done


async def tell(look: Callable[[], Sequence[Progress | None]]) -> None:
    """Say every ten seconds how far it is, for ever."""
    while True:
        await asyncio.sleep(_TELL_S)
        parts = [part for part in look() if part is not None]
        if parts:
            service.say(sentence(together(parts)))


async def _start(words: Sequence[str], part: str) -> Process:
    command = [sys.executable, "-m", "thermogate.cli.main", *words, "--part", part]
    return await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, start_new_session=True)


async def _ended(part: Process, stop: asyncio.Event) -> int:
    """Its status, when it has ended; a part that fails stops the others."""
    status = await part.wait()
    if status:
        stop.set()
    return status


async def _stop(stop: asyncio.Event, parts: Sequence[Process]) -> None:
    await stop.wait()
    for part in parts:
        if part.returncode is None:
            part.send_signal(signal.SIGTERM)


def _read(folder: Path, count: int) -> list[Progress]:
    found = []
    for part in range(count):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            found.append(msgspec.json.decode(_file(folder, part).read_bytes(), type=Progress))
    return found


def _file(folder: Path, part: int) -> Path:
    return folder / f"progress-{part}.json"
