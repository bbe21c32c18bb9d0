"""The power cap service of one node: the gate's pace in, limits out, everything restored at the end."""

import asyncio
from pathlib import Path

import msgspec

from thermogate.core.clock import Clock
from thermogate.core.errors import UnavailableError
from thermogate.core.mqtt import MqttSettings
from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.journal import Journal
from thermogate.schedulers.obey import Obey
from thermogate.schedulers.power_caps import words
from thermogate.schedulers.power_caps.adapter import PowerCaps, boot_id
from thermogate.schedulers.power_caps.gpus import Gpus
from thermogate.schedulers.power_caps.settings import PowerCapSettings
from thermogate.schedulers.standing import FREE, Target
from thermogate.schedulers.watch import GateWatch
from thermogate.schedulers.watch_settings import WatchSettings

_JOURNAL = "power-cap.json"
_STANDING = "power-cap-standing.json"


class PowerCapApp:
    """`await run(stop)`, or `await restore()` of what an earlier run has left. `folder` holds the journal."""

    def __init__(
        self,
        settings: PowerCapSettings,
        watching: WatchSettings,
        mqtt: MqttSettings,
        node: str,
        folder: Path,
        clock: Clock,
        *,
        dry_run: bool,
    ) -> None:
        self._settings = settings
        self._watching = watching
        self._mqtt = mqtt
        self._dry_run = dry_run
        self._target: Target = ("node", node)
        self._folder = folder
        self._clock = clock
        self._gpus = Gpus(settings.call_timeout_s)
        self._journal = Journal(folder / _JOURNAL, PowerCaps.name)
        self._watch: GateWatch | None = None

    @property
    def problem(self) -> str:
        """Why nothing comes from the broker; "" when all is well."""
        return self._watch.problem if self._watch is not None else ""

    @property
    def capped_count(self) -> int:
        """GPUs on which a limit of ours is in force, as far as is known."""
        return sum(len(self._journal.marks(target)) for target in self._journal.targets())

    async def report(self) -> list[str]:
        """What can be capped here, a line for GPUs that are alike, or why nothing can."""
        try:
            return words.of_gpus(await self._gpus.look())
        except ActionError as err:
            return [f"{err}; tried again when a pace is to be set"]

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the node's pace until `stop`, then restore. Raises ConfigError or UnavailableError."""
        self._journal.open()
        standing = self._watching.state_file or str(self._folder / _STANDING)
        watching = msgspec.structs.replace(self._watching, state_file=standing)
        try:
            async with GateWatch(
                self._mqtt,
                watching,
                self._clock,
                client_id=f"thermogate-power-cap-{self._target[1]}",
                targets=[self._target],
                data_dir=self._folder,
            ) as self._watch:
                obey = Obey(
                    self._adapter(),
                    self._watch,
                    self._journal,
                    self._settings.obey,
                    self._clock,
                    dry_run=self._dry_run,
                    host=self._target[1],
                )
                await obey.run(stop)
        finally:
            self._gpus.close()

    async def restore(self) -> str:
        """Restore every limit of ours in the journal; one sentence of what was done.

        Raises ActionError when some could not be: they stay in the journal.
        """
        self._journal.open()
        adapter = self._adapter()
        said = [await self._restore(adapter, target) for target in self._journal.targets()]
        self._gpus.close()
        return "; ".join(said) or "no power limit of ours is in force"

    async def _restore(self, adapter: PowerCaps, target: Target) -> str:
        plan = await adapter.plan(target, FREE, self._journal.marks(target))
        self._journal.clear(target, plan.forgets)
        for step in plan.steps:
            await adapter.perform(step)
            self._journal.clear(target, step.clears)
        if self._journal.marks(target):
            raise ActionError(plan.text)
        return plan.text

    def _adapter(self) -> PowerCaps:
        try:
            return PowerCaps(self._gpus, self._target[1], boot=boot_id())
        except ActionError as err:
            raise UnavailableError(str(err)) from err
