"""Analytics as a process: messages in, decisions out, over one connection to the broker."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from thermogate.analytics import baselines, overload, words
from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.deciding import Decided
from thermogate.analytics.engine import Engine, Out
from thermogate.analytics.overload import Overload
from thermogate.analytics.publisher import Publisher
from thermogate.analytics.recall import Past, recall
from thermogate.analytics.shard import Shard
from thermogate.analytics.subscriber import Said, Telemetry, understand
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import NotConnectedError, SignatureError, UnavailableError, WireError
from thermogate.core.gate_messages import Override
from thermogate.core.model import Event, Status
from thermogate.core.mqtt import Message, MqttClient, MqttSettings
from thermogate.core.signing import SigningKey, TrustedKeys
from thermogate.core.wire import encode, signal_topic, split_topic

log = logging.getLogger(__name__)

_MAX_AHEAD_S = 30.0
"""As `schedulers.watch.max_skew_s` for decisions: servers that keep time are within a second."""
_BATCH = 100
"""Messages handled before others of this process have their turn: about 50 ms."""


class Audit(Protocol):
    """Where every decision is recorded before it is said; `analytics.audit.AuditLog` is one. Blocks."""

    def append(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """(payload, inputs) of each. Raises UnavailableError when they are not recorded."""
        ...


class Analytics:
    """`await Analytics(...).run(stop)` until `stop` is set. Decisions stay retained until they expire.

    `recorded` are the decisions of the last hour, oldest first, with their payloads, from the audit log:
    those in force go on, and are said again. `memory` is a file for what is healthy for each device, `spoken`
    one for what operators have said.

    `key` signs decisions; `trusted` says whose retained decisions and whose overrides count. With `past`
    what the gate knew before a restart is read from the store. What cannot be recorded in `audit` is not
    said: it is tried again, and meanwhile decisions expire and work runs.
    """

    def __init__(
        self,
        settings: AnalyticsSettings,
        mqtt: MqttSettings,
        clock: Clock,
        *,
        key: SigningKey,
        trusted: TrustedKeys,
        audit: Audit,
        past: Past | None = None,
        recorded: Sequence[tuple[GateDecision, bytes]] = (),
        memory: Path | None = None,
        spoken: Path | None = None,
    ) -> None:
        self._settings = settings
        self._mqtt = mqtt
        self._key = key
        self._trusted = trusted
        self._audit = audit
        self._past = past
        self._recorded = recorded
        self._memory = memory
        self._spoken = spoken
        self._words: dict[str, tuple[Override, bytes]] = {}
        self._words_saved = True
        self._clock = clock
        self._engine = Engine(settings, clock)
        self._shard = Shard(*settings.part)
        self._client: MqttClient | None = None
        self._overload = Overload(clock)
        self._publisher: Publisher | None = None
        self._unsaid: dict[tuple[str, str], Decided] = {}
        self._telling = asyncio.Lock()
        self._audit_problem = ""
        self._refused: set[str] = set()
        self._overwritten: set[tuple[str, str]] = set()
        self.counters: Counter[str] = Counter()
        """Messages of each kind, malformed and refused ones, and decisions, since the start."""

    @property
    def node_count(self) -> int:
        """Nodes that it decides about now."""
        return len(self._engine)

    @property
    def held_count(self) -> int:
        """Nodes that are held now, by what is enforced."""
        return len(self._engine.held)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing comes from the broker, or goes out; () when all is well."""
        broker = "" if self._client is None else self._client.last_problem
        return tuple(problem for problem in (broker, self._audit_problem, self._overload.problem) if problem)

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until `stop`."""
        if self._memory is not None:
            self._engine.adopt(await asyncio.to_thread(baselines.load, self._memory))
        if self._past is not None:
            count = await recall(self._engine, self._past, self._shard, self._settings.recall, self._clock)
            log.info("%d nodes go on from what the store has of them", count)
        mqtt = MqttClient(
            self._mqtt,
            client_id=self._shard.name(self._settings.client_id),
            subscribe=self._shard.topics(),
            manual_ack=True,  # then what waits here is bounded by the window
            window=min(self._mqtt.receive_window, overload.WINDOW),
            lossy=overload.LOSSY,
            on_connect=lambda: self._connected(publisher),
        )
        self._client = mqtt
        publisher = self._publisher = Publisher(mqtt, self._clock)
        await self._hear_again()
        self._go_on(publisher)
        async with mqtt as client, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._remember()),
                group.create_task(self._receive(client, publisher)),
                group.create_task(self._tick(client, publisher)),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()
        await self._save()

    async def _hear_again(self) -> None:
        """What operators said before a restart, if it is still signed by one who may."""
        if self._spoken is None:
            return
        self._engine.learn(on=True)  # decided is once what is in force is known
        for one in await asyncio.to_thread(words.load, self._spoken):
            message = Message(one.topic, one.payload.encode(), True, 0, 1, 0)
            word = self._understand(message)
            if isinstance(word, Override) and self._is_ours(word):
                self._engine.on_override(word, one.until_ns)
                self._words[one.topic] = word, message.payload
        self._engine.learn(on=False)

    async def _keep_words(self) -> None:
        """Save what operators have said when there is something new, without what is of no use any more."""
        if self._spoken is None or self._words_saved:
            return
        self._words_saved = True
        kept = [
            words.Kept(topic, payload.decode(), self._engine.guarded_ns(word.kind, word.target))
            for topic, (word, payload) in self._words.items()
        ]
        now_ns = self._clock.utc_ns()
        kept = [one for one in kept if one.until_ns > now_ns]
        self._words = {one.topic: self._words[one.topic] for one in kept}
        await asyncio.to_thread(words.save, self._spoken, kept)

    def _is_ours(self, word: Override) -> bool:
        return word.kind in ("group", "fleet") or self._shard.owns(word.target)

    def _go_on(self, publisher: Publisher) -> None:
        """From what was decided before: how often targets were let go, and what is in force."""
        self._engine.on_history(decision for decision, _ in self._recorded)
        newest = {
            (decision.kind, decision.target): (decision, payload) for decision, payload in self._recorded
        }
        for decision, payload in newest.values():
            if self._shard.owns(decision.target):
                publisher.remember(decision, payload)
                self._engine.on_retained(decision)

    def _connected(self, publisher: Publisher) -> None:
        self._engine.reconnected()
        publisher.connected()

    async def _receive(self, client: MqttClient, publisher: Publisher) -> None:
        while True:
            messages = await client.receive(_BATCH)
            nodes: list[str] = []
            for message in messages:
                self._take(message, nodes)
            await self._keep_words()
            await self._tell(client, publisher)
            client.ack(*messages)
            if topics := self._shard.topics_of(nodes):
                client.subscribe(topics)
            await asyncio.sleep(0)

    async def _remember(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.steady_s() + baselines.EVERY_S)
            await self._save()

    async def _save(self) -> None:
        if self._memory is not None:
            await asyncio.to_thread(baselines.save, self._memory, self._engine.baselines())

    async def _tick(self, client: MqttClient, publisher: Publisher) -> None:
        while True:
            await self._clock.sleep_until(self._clock.steady_s() + self._settings.gate.tick_s)
            self._overload.look(client)
            self._engine.tick()
            await self._tell(client, publisher)
            while self._overwritten:
                publisher.say_again(*self._overwritten.pop())

    def _take(self, message: Message, nodes: list[str]) -> None:
        """Hand on what a message says; whose status it is, if it is one, goes to `nodes`."""
        match self._understand(message):
            case Telemetry(node, points):
                self.counters["telemetry_count"] += 1
                self._engine.on_points(node, points)
            case Event() as event:
                self.counters["event_count"] += 1
                self._engine.on_event(event)
            case Status(node=node) as status:
                nodes.append(node)
                if self._shard.owns(node):
                    self._engine.on_status(status)
            case GateDecision() as decision if self._shard.owns(decision.target):
                self._on_decision(decision, retained=message.retained)
            case Override() as word if self._is_ours(word):
                log.info("operator %s: %s %s %s: %s", word.by, word.state, word.kind, word.target, word.why)
                if self._engine.on_override(word):
                    self._words[message.topic] = word, message.payload
                    self._words_saved = False

    def _on_decision(self, decision: GateDecision, *, retained: bool) -> None:
        """One of ours: from before a restart, or come back from the broker."""
        if retained:
            self._engine.on_retained(decision)
        if self._publisher is not None and self._publisher.is_outdated(decision):
            self._overwritten.add((decision.kind, decision.target))

    def _understand(self, message: Message) -> Said | None:
        """None for what is malformed, or not signed by one who may say it."""
        try:
            said = understand(message)
            if isinstance(said, GateDecision | Override):
                self._trusted.check(message.payload, said)
            if isinstance(said, Override):
                self._refuse_ahead(said)
        except SignatureError as err:
            self._refuse(message.topic, err)
            return None
        except WireError as err:
            self.counters["malformed_count"] += 1
            log.debug("ignored: %s", err)
            return None
        return said

    def _refuse_ahead(self, word: Override) -> None:
        """A word of the future would keep out every later one that is issued by a right clock."""
        ahead_s = (word.issued_at_ns - self._clock.utc_ns()) / NS
        if ahead_s > _MAX_AHEAD_S:
            text = f"issued {ahead_s:.0f} s in the future: is the clock right where {word.by} works?"
            raise SignatureError("future", text)

    def _refuse(self, topic: str, err: SignatureError) -> None:
        """Told once a topic: whoever writes nonsense writes it often."""
        self.counters["refused_count"] += 1
        family, kind, target = split_topic(topic)
        if family == "gate":
            self._overwritten.add((kind, target))
        if topic not in self._refused and len(self._refused) < 1000:
            self._refused.add(topic)
            log.warning("refused on %s: %s", topic, err)

    async def _tell(self, client: MqttClient, publisher: Publisher) -> None:
        async with self._telling:
            out = self._engine.take()
            for decided in out.decided:
                self._unsaid[decided.decision.kind, decided.decision.target] = decided
            if self._unsaid:
                await self._say(publisher)
            _tell_signals(client, out)

    async def _say(self, publisher: Publisher) -> None:
        """Record, then publish: what is not on record is never said."""
        waiting = list(self._unsaid.values())
        sealed = [self._key.seal(one.decision) for one in waiting]
        entries = [(payload, one.inputs) for (_, payload), one in zip(sealed, waiting, strict=True)]
        try:
            await asyncio.to_thread(self._audit.append, entries)
        except UnavailableError as err:
            if not self._audit_problem:
                log.error("no decision is published, so work runs: %s", err)  # noqa: TRY400 - for a person
            self._audit_problem = f"decisions cannot be recorded: {err}"
            return
        self._audit_problem = ""
        self._unsaid.clear()
        for decision, payload in sealed:
            self.counters["decision_count"] += 1
            publisher.publish(decision, payload)


def _tell_signals(client: MqttClient, out: Out) -> None:
    with contextlib.suppress(NotConnectedError):  # the next ones are due in some seconds
        for told in out.signals:
            client.send(signal_topic("node", told.node), encode(told))
