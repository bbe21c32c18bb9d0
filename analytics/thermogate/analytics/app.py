"""Analytics as a process: messages in, decisions out, over one connection to the broker."""

import asyncio
import logging
from collections import Counter

from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.policies import thermal
from thermogate.analytics.publisher import Publisher
from thermogate.analytics.regulator import Regulator
from thermogate.analytics.shard import Shard
from thermogate.analytics.subscriber import Telemetry, understand
from thermogate.core.clock import Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError
from thermogate.core.model import Event, Status
from thermogate.core.mqtt import Message, MqttClient, MqttSettings

log = logging.getLogger(__name__)

_BATCH = 100
"""Messages handled before others of this process have their turn: about 20 ms."""


class Analytics:
    """`await Analytics(...).run(stop)` until `stop` is set. Decisions stay retained until they expire."""

    def __init__(self, settings: AnalyticsSettings, mqtt: MqttSettings, clock: Clock) -> None:
        self._settings = settings
        self._mqtt = mqtt
        self._regulator = Regulator(
            thermal, settings.thermal, settings.gate, forget_s=settings.forget_s, clock=clock
        )
        self._shard = Shard(*settings.part)
        self._client: MqttClient | None = None
        self._clock = clock
        self.counters: Counter[str] = Counter()
        """Messages of each kind, malformed ones, and decisions, since the start."""

    @property
    def node_count(self) -> int:
        """Nodes that it decides about now."""
        return len(self._regulator)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing comes from the broker, if so; () when all is well."""
        problem = "" if self._client is None else self._client.last_problem
        return (problem,) if problem else ()

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until `stop`."""
        mqtt = MqttClient(
            self._mqtt,
            client_id=self._shard.name(self._settings.client_id),
            subscribe=self._shard.topics(),
            manual_ack=True,  # then what waits here is bounded by the window
            window=self._mqtt.receive_window,
            on_connect=lambda: publisher.connected(),
        )
        self._client = mqtt
        publisher = Publisher(mqtt, self._clock)
        async with mqtt as client, asyncio.TaskGroup() as group:
            receiving = group.create_task(self._receive(client, publisher))
            await stop.wait()
            receiving.cancel()

    async def _receive(self, client: MqttClient, publisher: Publisher) -> None:
        while True:
            messages = await client.receive(_BATCH)
            nodes: list[str] = []
            for message in messages:
                decision = self._take(message, nodes)
                if decision is not None:
                    self.counters["decision_count"] += 1
                    publisher.publish(decision)
            client.ack(*messages)
            if topics := self._shard.topics_of(nodes):
                client.subscribe(topics)
            await asyncio.sleep(0)

    def _take(self, message: Message, nodes: list[str]) -> GateDecision | None:
        """The decision that a message leads to, if any; whose status it is, if it is one, goes to `nodes`."""
        try:
            said = understand(message)
        except WireError as err:
            self.counters["malformed_count"] += 1
            log.debug("ignored: %s", err)
            return None
        match said:
            case Telemetry(node, points):
                self.counters["telemetry_count"] += 1
                return self._regulator.on_points(node, points)
            case Event():
                self.counters["event_count"] += 1
                return self._regulator.on_event(said)
            case Status(node=node):
                nodes.append(node)
                if self._shard.owns(node):
                    self._regulator.on_status(said)
            case GateDecision(target=node) if message.retained and self._shard.owns(node):
                self._regulator.on_retained(said)
        return None
