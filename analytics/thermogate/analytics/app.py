"""Analytics as a process: messages in, decisions out, over one connection to the broker."""

import asyncio
import logging
from collections import Counter

from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.policies import thermal
from thermogate.analytics.publisher import Publisher
from thermogate.analytics.regulator import Regulator
from thermogate.analytics.subscriber import TOPICS, Telemetry, understand
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
        self._clock = clock
        self.counters: Counter[str] = Counter()
        """Messages of each kind, malformed ones, and decisions, since the start."""

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until `stop`."""
        mqtt = MqttClient(
            self._mqtt,
            client_id=self._settings.client_id,
            subscribe=TOPICS,
            manual_ack=True,  # then what waits here is bounded by the broker's window
            on_connect=lambda: publisher.connected(),
        )
        publisher = Publisher(mqtt, self._clock)
        async with mqtt as client, asyncio.TaskGroup() as group:
            receiving = group.create_task(self._receive(client, publisher))
            await stop.wait()
            receiving.cancel()

    async def _receive(self, client: MqttClient, publisher: Publisher) -> None:
        while True:
            for message in await client.receive(_BATCH):
                decision = self._take(message)
                if decision is not None:
                    self.counters["decision_count"] += 1
                    publisher.publish(decision)
                client.ack(message)
            await asyncio.sleep(0)

    def _take(self, message: Message) -> GateDecision | None:
        """The decision that a message leads to, if any."""
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
            case Status():
                self._regulator.on_status(said)
            case GateDecision() if message.retained:
                self._regulator.on_retained(said)
        return None
