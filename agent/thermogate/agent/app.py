"""One node's agent: a feed through the pipeline into the spool, and the spool to the broker."""

import asyncio
import logging
from collections.abc import Callable

from thermogate.agent import selfstats
from thermogate.agent.config import AgentSettings
from thermogate.agent.feed import Feed, Tick
from thermogate.agent.jobs import DeviceKey, JobTracker
from thermogate.agent.pipeline import Pipeline
from thermogate.agent.spool import Record, RecordKind, Spool
from thermogate.agent.uplink import Uplink
from thermogate.core import __version__
from thermogate.core.clock import Clock
from thermogate.core.errors import NotConnectedError
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.mqtt import MqttClient, MqttSettings, Will
from thermogate.core.wire import encode, node_topic

log = logging.getLogger(__name__)


class Agent:
    """`await Agent(...).run(stop)` until `stop` is set; what is not acknowledged by then stays spooled."""

    def __init__(
        self,
        feed: Feed,
        spool: Spool,
        settings: AgentSettings,
        mqtt: MqttSettings,
        clock: Clock,
        *,
        jobs: JobTracker | None = None,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        """`heartbeat` is called after each tick that is in the spool; `jobs` tells whose work it is."""
        self._feed = feed
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._node = feed.node
        self._pipeline = Pipeline(feed.node, feed.origin, settings.rle, settings.throttle)
        self._stats_due_s = 0.0
        self._status_due_s = 0.0
        self._jobs = jobs
        self._heartbeat = heartbeat
        self._described: tuple[DeviceInfo, ...] | None = None
        self._text = ""
        self._client = MqttClient(
            mqtt,
            client_id=f"thermogate-agent-{feed.node}",
            subscribe=(node_topic(feed.node, "ack"),),
            will=Will(node_topic(feed.node, "status"), encode(self._status(online=False, text="lost"))),
            on_connect=self._connected,
        )
        self._uplink = Uplink(self._client, feed.node, spool, settings.uplink, clock)

    async def run(self, stop: asyncio.Event, *, drain_s: float = 1.2) -> None:
        """Sample and send until `stop`; then wait up to `drain_s` for the last acknowledgements."""
        async with self._client, asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._uplink.run()),
                group.create_task(self._uplink.hear()),
                group.create_task(self._renew_status()),
            ]
            feeding = group.create_task(self._feed_all())
            await stop.wait()
            feeding.cancel()
            await asyncio.wait([feeding])
            await self._feed.close()
            if not await self._uplink.drain(drain_s):
                log.info("%s: %d messages stay in the spool", self._node, self._spool.depth)
            self._text = "stopped"
            self._publish_status(online=False)
            for task in helpers:
                task.cancel()

    async def _feed_all(self) -> None:
        ticks = self._feed.ticks()
        async for tick in ticks:
            self._take(tick)
        self._text = "the recording has ended"
        self._publish_status(online=True)

    def _take(self, tick: Tick) -> None:
        devices = self._feed.devices()
        if devices != self._described:
            self._described = devices
            self._pipeline.describe(devices)
            self._status_due_s = 0.0
        lines, events = self._pipeline.step(tick.readings, tick.time_ns, tick.elapsed_s)
        lines += self._selfstats(tick)
        if lines:
            self._keep("telemetry", lines.encode())
        if self._jobs is not None:
            events += self._jobs.step(_users(tick), tick.time_ns)
        for event in (*tick.events, *events):
            self._keep("event", encode(event))
        self._heartbeat()

    def _keep(self, kind: RecordKind, payload: bytes) -> None:
        seq = self._spool.append(kind, payload)
        self._uplink.offer(Record(seq, kind, payload))

    def _selfstats(self, tick: Tick) -> str:
        if self._feed.origin is not None or tick.elapsed_s < self._stats_due_s:
            return ""
        self._stats_due_s = tick.elapsed_s + self._settings.selfstats_interval_s
        return selfstats.line(self._node, self._feed.counters(), self._spool, tick.time_ns)

    def _connected(self) -> None:
        self._uplink.reconnected()
        self._status_due_s = 0.0

    async def _renew_status(self) -> None:
        while True:
            await self._client.wait_connected()
            if self._clock.steady_s() >= self._status_due_s:
                self._publish_status(online=True)
                self._status_due_s = self._clock.steady_s() + self._settings.uplink.status_interval_s
            await self._clock.sleep_until(self._clock.steady_s() + self._settings.period_s)

    def _publish_status(self, *, online: bool) -> None:
        status = encode(self._status(online=online, text=self._text))
        try:
            self._client.publish_soon(node_topic(self._node, "status"), status, retain=True)
        except NotConnectedError:
            self._status_due_s = 0.0

    def _status(self, *, online: bool, text: str) -> Status:
        return Status(
            node=self._node,
            online=online,
            time_ns=self._clock.utc_ns(),
            version=__version__,
            origin=self._feed.origin,
            spool=self._spool.id,
            spool_depth=self._spool.depth,
            period_s=self._settings.period_s,
            devices=self._feed.devices(),
            sources=self._feed.reports(),
            text=text,
        )


def _users(tick: Tick) -> dict[DeviceKey, tuple[int, ...]]:
    return {(r.kind, r.device): r.pids for r in tick.readings if r.pids is not None}
