"""What is in quarantine, tried again: after an upgrade, another setting or a mended database.

`ask` moves the files of a quarantine into its folder AGAIN. The collector that runs there, or the next
one, checks and writes what is in them. What is refused again goes back under the name that its file had,
with the new reason; so a kill at any moment costs neither a message nor makes one two: until the file goes
back, or is gone, all of it is tried again, and what is stored twice is stored once.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from thermogate.collector.checking import Checked
from thermogate.collector.counters import Counters
from thermogate.collector.guard import Guard
from thermogate.collector.quarantine import AGAIN, Entry, encode, entries, files, locked
from thermogate.collector.store.base import Settling, Store
from thermogate.collector.writing import Writer
from thermogate.core.clock import Clock
from thermogate.core.errors import StoreError, WireError
from thermogate.core.model import Status
from thermogate.core.mqtt import Message

log = logging.getLogger(__name__)

_LOOK_S = 2.0
_REST_S = 60.0
"""After a failure, which is logged each time."""
_CHUNK = 100
"""Entries in one write, beside which live messages are written."""


class Asked(NamedTuple):
    """What `ask` has moved."""

    files: list[Path]
    """Where they are now."""
    messages: int


def ask(folder: Path) -> Asked:
    """Let everything in the quarantine `folder` be tried again. Raises OSError where it cannot be moved."""
    again = folder / AGAIN
    if not folder.is_dir():
        return Asked([], 0)
    with locked(folder):
        found = files(folder)
        if found and (again.is_symlink() or not again.is_dir()):
            again.mkdir(mode=0o700)
            owner = folder.stat()  # root may ask what a collector with fewer rights has to do
            os.chown(again, owner.st_uid, owner.st_gid, follow_symlinks=False)
        moved = [_moved(file, again / file.name) for file in found]
    return Asked(moved, sum(1 for file in moved for _ in entries(file)))


class Requeue:
    """Tries again what `ask` has moved, one file after another."""

    def __init__(
        self, folder: Path, store: Store, writer: Writer, guard: Guard, counters: Counters, clock: Clock
    ) -> None:
        self._folder = folder
        self._store = store
        self._writer = writer
        self._guard = guard
        self._counters = counters
        self._clock = clock

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                for file in await asyncio.to_thread(files, self._folder / AGAIN):
                    await self._file(file)
            except (OSError, StoreError) as err:
                log.warning("quarantine %s is tried again later: %s", self._folder, err)
                await self._clock.sleep_until(self._clock.steady_s() + _REST_S)
            await self._clock.sleep_until(self._clock.steady_s() + _LOOK_S)

    async def _file(self, file: Path) -> None:
        """Store what can be, and bring back the rest."""
        if await asyncio.to_thread(_was_brought_back, file):
            return
        back: list[Entry] = []
        settling: list[Settling] = []
        count = 0
        async for chunk in _chunks(file):
            count += len(chunk)
            back += await self._chunk(chunk, settling)
        if not all([await one for one in settling]):
            raise StoreError("the store may have lost some of it in a crash")
        await asyncio.to_thread(_bring_back, file, back)
        self._counters.requeued += count - len(back)
        log.info("quarantine %s: %d of %d messages are stored now", file.stem, count - len(back), count)

    async def _chunk(self, chunk: Sequence[Entry], settling: list[Settling]) -> list[Entry]:
        """Those that are refused again; what tells when the others are past any crash goes to `settling`."""
        back, good = [], []
        of: dict[int, Entry] = {}
        for entry in chunk:
            try:
                checked = self._guard.check(_message(entry))
            except (WireError, ValueError) as err:
                back.append(msgspec.structs.replace(entry, reason=str(err)))
                continue
            if not await self._is_old(checked):
                good.append(checked)
                of[id(checked)] = entry
        if good:
            written = await self._writer.write(good)
            settling += [taken.settling for taken in written.taken if taken.settling is not None]
            back += [msgspec.structs.replace(of[id(one)], reason=reason) for one, reason in written.refused]
        return back

    async def _is_old(self, checked: Checked) -> bool:
        """A status that another has replaced since: stores keep the one that is written last."""
        status = checked.content
        if not isinstance(status, Status):
            return False
        stored = await self._store.statuses()
        return any(one.node == status.node and one.time_ns >= status.time_ns for one in stored)


def _message(entry: Entry) -> Message:
    return Message(entry.topic, entry.payload_bytes(), False, 0, 0, 0)


async def _chunks(file: Path) -> AsyncIterator[list[Entry]]:
    found = entries(file)
    while chunk := await asyncio.to_thread(_take, found):
        yield chunk


def _take(found: Iterable[Entry]) -> list[Entry]:
    return [entry for _, entry in zip(range(_CHUNK), found, strict=False)]


def _moved(file: Path, to: Path) -> Path:
    return file.rename(to)


def _was_brought_back(file: Path) -> bool:
    """Whether an earlier process was killed between the two steps of bringing it back."""
    quarantine = file.parent.parent
    with locked(quarantine):
        done = (quarantine / file.name).exists()
        if done:
            file.unlink()
    return done


def _bring_back(file: Path, back: Sequence[Entry]) -> None:
    """Into the quarantine and out of AGAIN."""
    part = file.with_suffix(".part")
    if back:
        with part.open("wb") as out:
            out.writelines(encode(entry) for entry in back)
            out.flush()
            os.fsync(out.fileno())
    quarantine = file.parent.parent
    with locked(quarantine):  # `ask` may not move it in between
        if back:
            part.replace(quarantine / file.name)
        file.unlink()
