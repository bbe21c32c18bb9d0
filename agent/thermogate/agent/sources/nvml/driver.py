"""The NVIDIA driver as a whole: started, also late, and started again when GPUs come or go."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path

from thermogate.agent.sources.base import SourceEvent
from thermogate.agent.sources.nvml import library
from thermogate.agent.sources.nvml.pace import Pace
from thermogate.agent.sources.nvml.settings import NvidiaSettings
from thermogate.agent.sources.watch import Silence
from thermogate.agent.sources.worker import Worker
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError

_BRIEF_S = 0.1
"""What a tick waits for the driver in good health; a slow answer is taken at a later tick."""

_Outcome = Callable[[], None]
"""Notes what a job has found, in the thread of the caller."""


class Driver:
    """Runs what concerns no single GPU, one job after another, in a thread that may be lost.

    NVML lists the GPUs that were there when it was started. To see others, or one that was plugged
    in again, it has to be shut down and started: that is done only when the kernel's list of GPUs
    or NVML's count has changed, and never while some other call has not returned.
    """

    def __init__(self, settings: NvidiaSettings, sysfs: Path, clock: Clock) -> None:
        self.up = False
        self.stale = False
        """Whether it has to be started again to see GPUs that came or went."""
        self.starts = 0
        """How often it has been started: every time, handles of before mean nothing."""
        self.version = ""
        self.count = 0
        self.error: SourceError | None = None
        """Why it does not start."""
        self.listed: tuple[str, ...] = ()
        """The UUIDs of the GPUs by NVML's index, once after `list_gpus`; "" for one that does not tell."""
        self._settings = settings
        self._sysfs = sysfs
        self._clock = clock
        self._worker = Worker[_Outcome]("nvml")
        self._silence = Silence("nvml", settings.hung_after_s)
        self._job: Future[_Outcome] | None = None
        self._doing = ""
        self._to_list = False
        self._bus: frozenset[tuple[str, int]] = frozenset()
        self._retry = Pace(clock, settings.retry_s)
        self._look_pace = Pace(clock, settings.slow_interval_s)

    @property
    def busy(self) -> bool:
        """Whether a job has not returned."""
        return self._job is not None

    def start(self) -> None:
        """Start, waiting `open_timeout_s` at most. Look at `up` and `error` then."""
        self._retry.due()
        self._submit(self._start, self._settings.open_timeout_s)

    def list_gpus(self) -> None:
        """Ask for `listed`."""
        self._to_list = True

    def turn(self, *, may_restart: bool) -> list[SourceEvent]:
        """Do what is due, once a tick; an event when the driver hangs or answers again."""
        events = self._collect()
        if self._job is None:
            self._next(may_restart=may_restart)
            events += self._collect()
        return events

    def close(self, *, shut_down: bool) -> None:
        """Let the thread end; does not wait for a driver that hangs."""
        if shut_down and self.up and self._job is None:
            self._submit(self._stop, self._settings.read_timeout_s)
        self._worker.stop()

    def _next(self, *, may_restart: bool) -> None:
        if not self.up:
            if may_restart and self._retry.due():
                self._submit(self._start)
        elif self.stale:
            if may_restart:
                self.up = False
                self._submit(self._restart)
        elif self._to_list:
            self._to_list = False
            self._submit(partial(self._list, self.count))
        elif self._look_pace.due():
            self._submit(self._look)

    def _submit(self, job: Callable[[], _Outcome], wait_s: float = _BRIEF_S) -> None:
        self._silence.begin(self._clock.steady_s())
        self._job = self._worker.submit(job)
        wait([self._job], wait_s)

    def _collect(self) -> list[SourceEvent]:
        if self._job is None:
            return []
        now_s = self._clock.steady_s()
        if not self._job.done():
            return self._silence.check(now_s, self._doing)
        job, self._job = self._job, None
        try:
            job.result()()
        except SourceError as err:
            self.up, self.stale, self.error = False, False, err
        return self._silence.end(now_s)

    def _start(self) -> _Outcome:
        bus = library.on_the_bus(self._sysfs)
        self._doing = "nvmlInitWithFlags"
        version = library.start()
        self._doing = "nvmlDeviceGetCount"
        try:
            count = library.count()
        except SourceError:
            self._stop()
            raise
        return partial(self._note_start, version, count, bus)

    def _restart(self) -> _Outcome:
        self._stop()
        return self._start()

    def _stop(self) -> _Outcome:
        self._doing = "nvmlShutdown"
        library.stop()
        return lambda: None

    def _look(self) -> _Outcome:
        bus = library.on_the_bus(self._sysfs)
        self._doing = "nvmlDeviceGetCount"
        try:
            return partial(self._note_look, library.count(), bus)
        except SourceError:
            return lambda: None  # nothing is known to have changed

    def _list(self, count: int) -> _Outcome:
        self._doing = "nvmlDeviceGetHandleByIndex"
        return partial(self._note_list, tuple(library.uuid_at(index) for index in range(count)))

    def _note_start(self, version: str, count: int, bus: frozenset[tuple[str, int]]) -> None:
        self.version, self.count, self._bus = version, count, bus
        self.up, self.stale, self.error = True, False, None
        self.starts += 1
        self._look_pace.due()

    def _note_look(self, count: int, bus: frozenset[tuple[str, int]]) -> None:
        self.stale = count != self.count or bus != self._bus

    def _note_list(self, listed: tuple[str, ...]) -> None:
        self.listed = listed
