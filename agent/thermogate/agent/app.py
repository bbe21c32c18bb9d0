"""One node's agent: a feed through the pipeline into the spool, and the spool to the broker."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec

from thermogate.agent.budget import BudgetSettings
from thermogate.agent.config import AgentSettings
from thermogate.agent.feed import Feed, Tick
from thermogate.agent.jobs import DeviceKey, JobTracker
from thermogate.agent.pipeline import Pipeline
from thermogate.agent.selfstats import SelfStats
from thermogate.agent.spool import Record, RecordKind, Spool
from thermogate.agent.uplink import Uplink
from thermogate.core import __version__
from thermogate.core.clock import Clock
from thermogate.core.errors import NotConnectedError
from thermogate.core.model import DeviceInfo, Event, SourceReport, Status
from thermogate.core.mqtt import MqttClient, MqttSettings, Will
from thermogate.core.wire import encode, node_topic, split_lines

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
        budget: BudgetSettings | None = None,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        """`jobs` tells whose work it is; `budget` is what this process may cost, None when other parts
        run in it; `heartbeat` is called after each tick that is in the spool.
        """
        self._feed = feed
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._node = feed.node
        self._pipeline = Pipeline(feed.node, feed.origin, settings.rle, settings.throttle)
        self._status_wanted = asyncio.Event()
        self._jobs = jobs
        self._heartbeat = heartbeat
        self._described: tuple[tuple[DeviceInfo, ...], tuple[SourceReport, ...]] | None = None
        self._text = ""
        self._client = MqttClient(
            mqtt,
            client_id=f"thermogate-agent-{feed.node}",
            subscribe=(node_topic(feed.node, "ack"),),
            will=Will(node_topic(feed.node, "status"), encode(self._status(online=False, text="lost"))),
            on_connect=self._connected,
        )
        self._uplink = Uplink(self._client, feed.node, spool, settings.uplink, clock)
        self._selfstats = SelfStats(feed, spool, self._uplink, settings, budget)

    @property
    def spool_depth(self) -> int:
        """Messages that no store has yet."""
        return self._spool.depth

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps samples from the disk or from the broker now, a sentence each."""
        return tuple(filter(None, (self._spool.problem, self._client.last_problem)))

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
        described = self._feed.devices(), self._feed.reports()
        if described != self._described:
            self._described = described
            self._pipeline.describe(described[0])
            self._status_wanted.set()
        lines, events = self._pipeline.step(tick.readings, tick.time_ns, tick.elapsed_s)
        own_line, own_events = self._selfstats.step(tick)
        lines, events = tick.lines + lines + own_line, events + own_events
        for part in split_lines(lines):
            self._keep("telemetry", part)
        if self._jobs is not None:
            events += self._jobs.step(_users(tick), tick.time_ns)
        for event in apart((*tick.events, *events)):
            self._keep("event", encode(event))
        self._heartbeat()

    def _keep(self, kind: RecordKind, payload: bytes) -> None:
        seq = self._spool.append(kind, payload)
        self._uplink.offer(Record(seq, kind, payload))

    def _connected(self) -> None:
        self._uplink.reconnected()
        self._status_wanted.set()

    async def _renew_status(self) -> None:
        while True:
            await self._client.wait_connected()
            self._status_wanted.clear()
            self._publish_status(online=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.uplink.status_interval_s):
                    await self._status_wanted.wait()

    def _publish_status(self, *, online: bool) -> None:
        status = encode(self._status(online=online, text=self._text))
        with contextlib.suppress(NotConnectedError):  # it is published on connecting anyway
            self._client.send(node_topic(self._node, "status"), status, retain=True)

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


def apart(events: Iterable[Event]) -> Iterator[Event]:
    """The same events, those of one kind on one device at one instant a nanosecond apart: a store tells
    events apart by these three."""
    said: Counter[tuple[str, str, str, int]] = Counter()
    for event in events:
        key = (event.event, event.device_kind, event.device, event.time_ns)
        yield msgspec.structs.replace(event, time_ns=event.time_ns + said[key])
        said[key] += 1
