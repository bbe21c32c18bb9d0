"""A recorded session played as a node of its own, at its own spacing or faster.

Stamps are a function of where the play began and of the row, so that a play that was cut off can
go on: what may have been sent is sent again with the same stamps, which stores it once, and the
rest follows from now on.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from thermogate.agent.feed import Tick
from thermogate.agent.recording import Recording, reading
from thermogate.agent.sources.base import Reading
from thermogate.core.clock import NS, Clock
from thermogate.core.errors import UnavailableError
from thermogate.core.model import DeviceInfo, Origin, SourceReport


class _Leg(msgspec.Struct, frozen=True):
    """A stretch played without a break: tick `first` was due at `began_ns`."""

    first: int
    began_ns: int


class _Progress(msgspec.Struct, frozen=True):
    """How far the play of `digest` at `speed` has come: ticks up to `reached` may have been sent."""

    digest: str
    speed: float
    legs: tuple[_Leg, ...]
    reached: int


class Replay:
    """The feed of a recording.

    `speed` 2 plays twice as fast; the intervals that RLE sees stay the recorded ones. With `loop`
    it begins again at its end, with new stamps. `progress_file` outlives a crash and is removed by
    a clean stop, after which the recording plays from its beginning.
    """

    def __init__(
        self,
        node: str,
        recording: Recording,
        devices: tuple[DeviceInfo, ...],
        *,
        speed: float,
        loop: bool,
        progress_file: Path,
        clock: Clock,
    ) -> None:
        self.node = node
        self.origin: Origin | None = "replay"
        self._recording = recording
        self._devices = devices
        self._speed = speed
        self._loop = loop
        self._progress_file = progress_file
        self._clock = clock
        self._ticks = _ticks(recording)
        self._done = 0

    def reports(self) -> tuple[SourceReport, ...]:
        """One sentence that says what plays, and that it is a replay."""
        bad = self._recording.complaints
        text = f"REPLAY of {self._recording.path.name} at {self._speed:g}x: {len(self._ticks)} ticks"
        if bad:
            text += f", {len(bad)} bad rows skipped, the first in line {bad[0].line}: {bad[0].text}"
        return (SourceReport("replay", bool(self._ticks), text),)

    def devices(self) -> tuple[DeviceInfo, ...]:
        """The devices of the recording."""
        return self._devices

    def counters(self) -> dict[str, float]:
        """Ticks played."""
        return {"ticks_count": self._done}

    async def ticks(self) -> AsyncIterator[Tick]:
        """Every tick of the recording when it is due; those of an interrupted play first."""
        while self._ticks:
            progress = await asyncio.to_thread(self._resume)
            leg, began_s = progress.legs[-1], self._clock.steady_s()
            for number in range(len(self._ticks)):
                if number > progress.reached:
                    into_leg_s = (_due_ns(progress, self._ticks, number) - leg.began_ns) / NS
                    await self._clock.sleep_until(began_s + into_leg_s)
                    progress = msgspec.structs.replace(progress, reached=number)
                    self._save(progress)
                offset_s, readings = self._ticks[number]
                self._done += 1
                yield Tick(_due_ns(progress, self._ticks, number), offset_s, readings)
            if not self._loop:
                return
            await self._clock.sleep_until(self._clock.steady_s() + self._pause_s())
            self._forget()

    def economize(self, *, frugal: bool) -> None:
        """A recording costs the same with fewer sensors: nothing to do."""

    async def close(self) -> None:
        """After a stop on purpose the next play begins afresh."""
        self._forget()

    def _pause_s(self) -> float:
        """Between two rounds, as long as between the last two ticks: one instant has one sample."""
        offsets_s = [offset_s for offset_s, _ in self._ticks[-2:]]
        return (offsets_s[-1] - offsets_s[0] or 1.0) / self._speed

    def _resume(self) -> _Progress:
        """The progress of a play that was cut off, with a new leg from now; else a fresh one."""
        now_ns = self._clock.utc_ns()
        digest = hashlib.sha256(self._recording.path.read_bytes()).hexdigest()
        progress = _Progress(digest, self._speed, (_Leg(0, now_ns),), -1)
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            saved = msgspec.json.decode(self._progress_file.read_bytes(), type=_Progress)
            if (saved.digest, saved.speed) == (digest, self._speed):
                leg = _Leg(saved.reached + 1, now_ns)
                progress = msgspec.structs.replace(saved, legs=(*saved.legs, leg))
        self._save(progress)
        return progress

    def _save(self, progress: _Progress) -> None:
        """Saved before a tick is given out, so that no tick past `reached` can have been sent."""
        draft = self._progress_file.with_suffix(".new")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(progress))
            draft.replace(self._progress_file)
        except OSError as err:
            raise UnavailableError(f"cannot write {self._progress_file}: {err.strerror}") from err

    def _forget(self) -> None:
        self._progress_file.unlink(missing_ok=True)


_RecordedTick = tuple[float, tuple[Reading, ...]]


def _ticks(recording: Recording) -> list[_RecordedTick]:
    """Rows of one recorded instant together, with their time since the first in seconds."""
    ticks = list(recording.ticks())
    return [((rows[0].time_ns - ticks[0][0].time_ns) / NS, tuple(map(reading, rows))) for rows in ticks]


def _due_ns(progress: _Progress, ticks: list[_RecordedTick], number: int) -> int:
    leg = next(leg for leg in reversed(progress.legs) if leg.first <= number)
    offset_s = ticks[number][0] - ticks[leg.first][0]
    return leg.began_ns + round(offset_s / progress.speed * NS)
