"""Follows the gate over MQTT: what is in force, what changes, and back what was done about it."""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from thermogate.core.admission import Admission, Checks
from thermogate.core.clock import Clock
from thermogate.core.decision import TargetKind
from thermogate.core.errors import NotConnectedError, UnavailableError
from thermogate.core.gate_messages import Applied, Report
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import applied_topic, encode, gate_topic, request_topic
from thermogate.schedulers.journal import write_atomically
from thermogate.schedulers.standing import Change, Standing, Target
from thermogate.schedulers.standings import Remembered, Standings
from thermogate.schedulers.watch_settings import WatchSettings, trust_file

log = logging.getLogger(__name__)

_BATCH = 100
"""Messages handled before others of this process have their turn."""
_LOOK_S = 1.0
"""The longest between two looks at the clock: it may be set."""
_RETAINED_S = 1.0
"""What a broker retains of a fleet has come this long after the connection."""
_RETAINED_FEW_S = 0.3
"""What it retains of a few targets: it stands right behind the answer to the subscription."""
_SAVE_S = 5.0
"""How often the state file is renewed, if there is news; what it lacks is retained at the broker."""
_MOST_UNSENT = 1000
"""Reports that wait for a connection; the oldest go first."""
_LAST_WORDS_S = 2.0
"""How long leaving waits for reports to be taken."""


class GateWatch:
    """`async with GateWatch(...) as watch: async for change in watch.changes(): ...`

    Without a broker nothing new comes, and what is in force ends when it expires: work runs. `targets` are
    the only ones to follow; without them it is every one of `kinds`. `data_dir` is where keys are looked for
    when no file is given. Entering raises ConfigError where settings, keys or the broker's URL will not do.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        settings: WatchSettings,
        clock: Clock,
        *,
        client_id: str,
        kinds: tuple[TargetKind, ...] = ("node", "job"),
        targets: Iterable[Target] | None = None,
        data_dir: Path | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._retained_s = _RETAINED_S if targets is None else _RETAINED_FEW_S
        self._data_dir = data_dir
        self._state_file = Path(settings.state_file).expanduser() if settings.state_file else None
        wanted = [(kind, "+") for kind in kinds] if targets is None else list(targets)
        self._client = MqttClient(
            mqtt,
            client_id=client_id,
            subscribe=tuple(gate_topic(*target) for target in wanted),
            manual_ack=True,  # then what waits here is bounded by the window
            on_connect=lambda: self._connected.set(),
        )
        self._connected = asyncio.Event()
        self._standings: Standings = Standings(Admission(None), clock)
        self._changed = asyncio.Event()
        self._unsent: deque[tuple[str, bytes]] = deque(maxlen=_MOST_UNSENT)
        self._to_send = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._dirty = False
        self._exit = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.heard = asyncio.Event()
        """Set once a broker has told what it retains."""

    async def __aenter__(self) -> Self:
        trusted = _trusted(self._settings, self._data_dir)
        remembered = _read(self._state_file)
        admission = Admission(trusted, self._settings.max_skew_s, remembered.seqs)
        self._standings = Standings(admission, self._clock)
        self._standings.resume(remembered)
        self._changed.set()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            doing = (self._receive, self._expire, self._send, self._save, self._hear)
            self._tasks = [group.create_task(what()) for what in doing]
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if err is None and self._client.connected:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._all_sent.wait()
        for task in self._tasks:
            task.cancel()
        try:
            await self._exit.__aexit__(kind, err, trace)
        finally:
            self._write()

    @property
    def problem(self) -> str:
        """Why nothing comes from the broker; "" when all is well."""
        return self._client.last_problem

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._client.connected

    @property
    def refused(self) -> Counter[str]:
        """Messages that were not obeyed, by reason."""
        return self._standings.refused

    def standing(self, kind: TargetKind, target: str) -> Standing:
        """What is in force of a target now; RUN at 1.0 when nothing is."""
        return self._standings.get((kind, target))

    def standings(self) -> Mapping[Target, Standing]:
        """Every target about which something is said now."""
        return self._standings.all()

    async def changes(self) -> AsyncIterator[Change]:
        """Every change, also by expiry, as it comes; of what changes while nobody asks, the sum.

        For one reader.
        """
        while True:
            self._changed.clear()
            for change in self._standings.changes():
                yield change
            await self._changed.wait()

    def report(self, applied: Applied) -> None:
        """Say what was done, at QoS 1; without a connection once there is one again."""
        self._put(applied_topic(applied.kind, applied.target), encode(applied))

    def request(self, report: Report) -> None:
        """Say what a training reports of itself, likewise."""
        self._put(request_topic(report.kind, report.target), encode(report))

    def _put(self, topic: str, payload: bytes) -> None:
        self._unsent.append((topic, payload))
        self._all_sent.clear()
        self._to_send.set()

    async def _receive(self) -> None:
        while True:
            messages = await self._client.receive(_BATCH)
            for message in messages:
                self._standings.take(message.topic, message.payload)
            self._client.ack(*messages)
            self._dirty = True
            self._changed.set()
            await asyncio.sleep(0)

    async def _expire(self) -> None:
        while True:
            now_s = self._clock.steady_s()
            end_s = self._standings.next_end_s()
            await self._clock.sleep_until(now_s + _LOOK_S if end_s is None else min(end_s, now_s + _LOOK_S))
            self._standings.expire()
            self._changed.set()

    async def _send(self) -> None:
        while True:
            await self._client.wait_connected()
            while self._unsent:
                said = self._unsent[0]
                try:
                    await self._client.publish(*said)
                except NotConnectedError:
                    break
                if self._unsent and self._unsent[0] is said:  # it may have gone to make room
                    self._unsent.popleft()
            else:
                self._to_send.clear()
                self._all_sent.set()
                await self._to_send.wait()

    async def _hear(self) -> None:
        await self._connected.wait()
        await self._clock.sleep_until(self._clock.steady_s() + self._retained_s)
        self.heard.set()

    async def _save(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.steady_s() + _SAVE_S)
            self._write()

    def _write(self) -> None:
        if self._state_file is None or not self._dirty:
            return
        self._dirty = False
        try:
            write_atomically(self._state_file, msgspec.json.encode(self._standings.remember()))
        except UnavailableError as err:
            log.warning("what is in force is not kept over a restart: %s", err)


def _trusted(settings: WatchSettings, data_dir: Path | None) -> Checks | None:
    file = trust_file(settings, data_dir)
    if file is None:
        log.warning("decisions are obeyed unverified: schedulers.watch.verify is off")
        return None
    from thermogate.core.signing import (
        TrustedKeys,
    )  # only here: a program that does not verify needs no cryptography

    return TrustedKeys.load(file)


def _read(file: Path | None) -> Remembered:
    if file is None:
        return Remembered()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Remembered)
    except FileNotFoundError:
        return Remembered()
    except (OSError, msgspec.MsgspecError) as err:
        log.warning("%s: begins afresh, as it cannot be read: %s", file, err)
        return Remembered()
