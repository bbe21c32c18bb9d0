"""The Kubernetes service: decisions in, taints and suspensions out."""

import asyncio
from pathlib import Path

import msgspec

from thermogate.core.clock import Clock
from thermogate.core.mqtt import MqttSettings
from thermogate.schedulers.journal import Journal
from thermogate.schedulers.kubernetes.adapter import Kubernetes
from thermogate.schedulers.kubernetes.api import Api
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.kubernetes.watcher import Watcher
from thermogate.schedulers.obey import Obey
from thermogate.schedulers.watch import GateWatch
from thermogate.schedulers.watch_settings import ObeySettings, WatchSettings

_JOURNAL = "kubernetes.json"
_STANDING = "kubernetes-standing.json"


class KubernetesApp:
    """`open()`, then `await run(stop)`. `folder` has the journal; the cluster has it, too."""

    def __init__(
        self,
        settings: KubernetesSettings,
        watching: WatchSettings,
        obeying: ObeySettings,
        mqtt: MqttSettings,
        folder: Path,
        clock: Clock,
        *,
        dry_run: bool,
    ) -> None:
        self._settings = settings
        self._watching = watching
        self._obeying = obeying
        self._mqtt = mqtt
        self._folder = folder
        self._clock = clock
        self._dry_run = dry_run
        self._api = Api(settings, clock)
        self._journal = Journal(folder / _JOURNAL, Kubernetes.name)
        self._watch: GateWatch | None = None

    @property
    def problem(self) -> str:
        """Why nothing comes from the broker; "" when all is well."""
        return self._watch.problem if self._watch is not None else ""

    @property
    def held_count(self) -> int:
        """Targets on which something of ours is set."""
        return len(self._journal.targets())

    def open(self) -> str:
        """Read credentials and journal; the API server's URL. Raises ConfigError."""
        self._journal.open()
        return self._api.open()

    async def run(self, stop: asyncio.Event) -> None:
        """Obey until `stop`. What is set stays over a restart unless `undo_on_stop`. Raises ConfigError."""
        standing = self._watching.state_file or str(self._folder / _STANDING)
        async with GateWatch(
            self._mqtt,
            msgspec.structs.replace(self._watching, state_file=standing),
            self._clock,
            client_id="thermogate-kubernetes",
            kinds=Kubernetes.kinds,
            data_dir=self._folder,
        ) as self._watch:
            adapter = Kubernetes(self._api, self._settings)
            obey = Obey(
                adapter, self._watch, self._journal, self._obeying, self._clock, dry_run=self._dry_run
            )
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._look_at_changes(obey))
                await obey.run(stop)
                watching.cancel()
        self._api.close()

    async def _look_at_changes(self, obey: Obey) -> None:
        if self._settings.watch:
            await Watcher(self._api, self._settings, self._clock).run(obey.look_at)
