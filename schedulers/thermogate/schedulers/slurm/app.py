"""The service between the gate and one Slurm; and the command that undoes all it has done."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from thermogate.core.clock import Clock
from thermogate.core.errors import UnavailableError
from thermogate.core.mqtt import MqttSettings
from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.journal import Journal
from thermogate.schedulers.obey import Obey
from thermogate.schedulers.slurm.adapter import SlurmAdapter
from thermogate.schedulers.slurm.programs import Programs
from thermogate.schedulers.slurm.settings import SlurmSettings
from thermogate.schedulers.standing import FREE, Target
from thermogate.schedulers.watch import GateWatch
from thermogate.schedulers.watch_settings import ObeySettings, WatchSettings

_JOURNAL = "slurm.json"
_STANDING = "slurm-standing.json"
_LOCK = "slurm.lock"


class SlurmApp:
    """`await run(stop)`, or `await undo_all()`. `folder` holds the journal; one process at a time has it."""

    def __init__(
        self,
        settings: SlurmSettings,
        watching: WatchSettings,
        obeying: ObeySettings,
        mqtt: MqttSettings,
        folder: Path,
        clock: Clock,
        *,
        dry_run: bool,
    ) -> None:
        self._settings = settings
        self._watch_settings = watching
        self._obeying = obeying
        self._mqtt = mqtt
        self._dry_run = dry_run
        self._folder = folder
        self._clock = clock
        self._programs = Programs(settings)
        self._adapter = SlurmAdapter(settings, self._programs, clock)
        self._journal = Journal(folder / _JOURNAL, self._adapter.name)
        self._watch: GateWatch | None = None

    @property
    def problem(self) -> str:
        """Why nothing comes from the broker; "" when all is well."""
        return self._watch.problem if self._watch is not None else ""

    @property
    def target_count(self) -> int:
        """Nodes and jobs on which something of ours is set."""
        return len(self._journal.targets())

    async def run(self, stop: asyncio.Event) -> None:
        """Obey until `stop`. Raises ConfigError and UnavailableError."""
        self._programs.check()
        with _alone(self._folder):
            self._journal.open()
            async with self._watching() as self._watch:
                obey = Obey(
                    self._adapter,
                    self._watch,
                    self._journal,
                    self._obeying,
                    self._clock,
                    dry_run=self._dry_run,
                )
                await obey.run(stop)

    async def undo_all(self, for_s: float) -> list[str]:
        """Undo what is in the journal and what bears our sign in Slurm; the commands that were given.

        Also where `dry_run` is set: it was asked for by hand. Raises UnavailableError when the service
        runs, and ActionError when something is left after `for_s`; what is left stays in the journal.
        """
        self._programs.check()
        with _alone(self._folder):
            self._journal.open()
            await self._adopt()
            done: list[str] = []
            end_s = self._clock.steady_s() + for_s
            while self._journal.targets():
                waits = [await self._undo(target, done) for target in self._journal.targets()]
                if self._journal.targets() and self._clock.steady_s() >= end_s:
                    raise ActionError(f"still to be undone: {'; '.join(filter(None, waits))}")
                if any(waits):
                    await self._clock.sleep_until(self._clock.steady_s() + 1.0)
            return done

    async def _adopt(self) -> None:
        for target, marks in (await self._adapter.found()).items():
            known = self._journal.marks(target)
            lost = {name: mark.detail for name, mark in marks.items() if name not in known}
            with contextlib.suppress(UnavailableError):  # a full disk: it is known until all is undone
                self._journal.set(target, lost, done=True)

    async def _undo(self, target: Target, done: list[str]) -> str:
        """Undo what can be undone now of one target; what is still to be waited for, or ""."""
        try:
            plan = await self._adapter.plan(target, FREE, self._journal.marks(target))
            self._journal.clear(target, plan.forgets)
            for step in plan.steps:
                await self._adapter.perform(step)
                done.append(step.text)
                self._journal.clear(target, step.clears)
        except (ActionError, UnavailableError) as err:
            return f"{target[1]}: {err}"
        return plan.text if self._journal.marks(target) else ""

    def _watching(self) -> GateWatch:
        state_file = self._watch_settings.state_file or str(self._folder / _STANDING)
        return GateWatch(
            self._mqtt,
            msgspec.structs.replace(self._watch_settings, state_file=state_file),
            self._clock,
            client_id=self._settings.client_id,
            kinds=self._adapter.kinds,
            data_dir=self._folder,
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from the journal. Raises UnavailableError while another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise UnavailableError(f"{folder}: cannot be written: {err.strerror}") from err
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        raise UnavailableError(
            f"{folder / _LOCK}: `thermogate slurm` runs already; stop it first "
            "(systemctl stop thermogate-slurm)"
        ) from err
    else:
        yield
    finally:
        os.close(fd)
