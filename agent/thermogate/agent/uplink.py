"""From the spool to the broker: live first, the backlog beside it, until a store acknowledges."""

import asyncio
import contextlib
import logging
from collections import OrderedDict

import msgspec

from thermogate.agent.config import UplinkSettings
from thermogate.agent.spool import Record, Spool
from thermogate.core.clock import Clock
from thermogate.core.errors import NotConnectedError, WireError
from thermogate.core.model import Ack
from thermogate.core.mqtt import MqttClient
from thermogate.core.wire import decode, format_header, node_topic

log = logging.getLogger(__name__)

_TICK_S = 0.05
"""How often a backlog is topped up; 20 times a second spreads it evenly beside live samples."""


class Uplink:
    """Sends what the spool holds and forgets it only when a collector says that the store has it.

    A message is on its way from the moment it is sent until it is acknowledged or `ack_timeout_s`
    has passed. At most `window` are on their way, live ones excepted; and while nobody acknowledges
    anything, no more than one: a fleet whose collector is down does not send its backlog in circles.
    """

    def __init__(
        self, client: MqttClient, node: str, spool: Spool, settings: UplinkSettings, clock: Clock
    ) -> None:
        self._client = client
        self._node = node
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._sent_s: OrderedDict[int, float] = OrderedDict()
        self._cursor = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._draining = False
        self._behind = False
        self._ask = False
        self._unanswered = False
        self._acked_s: float | None = None
        self._unreadable = ""

    @property
    def ack_age_s(self) -> float | None:
        """Seconds since a store last acknowledged anything; None when none has yet."""
        return None if self._acked_s is None else self._clock.steady_s() - self._acked_s

    def offer(self, record: Record) -> None:
        """Send a fresh record at once if the way is free; else it goes with the backlog."""
        free = self._client.connected and len(self._sent_s) < 2 * self._settings.window
        if free and self._send(record):
            if self._cursor == record.seq - 1:
                self._cursor = record.seq
        else:
            self._wake.set()

    def acknowledged(self, ack: Ack) -> None:
        """Forget what a store has. Acknowledgements of another spool are not ours."""
        if ack.spool != self._spool.id:
            return
        self._acked_s = self._clock.steady_s()
        self._unanswered = False
        self._spool.ack(ack.spool, ack.stored)
        for first, last in ack.stored:
            for seq in [seq for seq in self._sent_s if first <= seq <= last]:
                del self._sent_s[seq]
        self._wake.set()

    def reconnected(self) -> None:
        """Whatever was on its way may be lost: everything is to be sent again."""
        self._sent_s.clear()
        self._cursor = 0
        self._unanswered = False
        self._wake.set()

    async def run(self) -> None:
        """Send the backlog for ever."""
        per_turn = max(1, round(self._settings.backlog_per_s * _TICK_S))
        while True:
            await self._client.wait_connected()
            self._expire()
            more = self._send_backlog(self._settings.window if self._draining else per_turn)
            if self._spool.depth == 0:
                self._idle.set()
            self._wake.clear()
            if more:
                await self._clock.sleep_until(self._clock.steady_s() + _TICK_S)
                continue
            # not wait_for, which before Python 3.12 may swallow a cancellation
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.ack_timeout_s / 4):
                    await self._wake.wait()

    async def hear(self) -> None:
        """Take the acknowledgements that the client receives, for ever."""
        while True:
            for message in await self._client.receive(100):
                try:
                    self.acknowledged(decode(message.payload, Ack))
                except WireError as err:
                    log.warning("%s: acknowledgement ignored: %s", self._node, err)

    async def drain(self, timeout_s: float | None) -> bool:
        """Wait until everything is acknowledged, asking for it; False when time ran out."""
        self._draining = True
        self._sent_s.clear()  # sent again with the request to acknowledge at once
        self._cursor = 0
        self._idle.clear()
        self._wake.set()
        if self._spool.depth == 0:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _send_backlog(self, limit: int) -> bool:
        """Send up to `limit` records that are not on their way; True when there may be more to send."""
        window = 1 if self._unanswered else self._settings.window
        room = min(limit, window - len(self._sent_s))
        if room <= 0:
            return False
        records = self._read(room)
        for record in records:
            if record.seq not in self._sent_s:
                if not self._send(record):
                    return False
                self._behind = True
            self._cursor = record.seq
        if self._behind and len(records) < room:
            self._behind, self._ask = False, True  # the end of a backlog is not left to the next round
        return len(records) == room

    def _read(self, limit: int) -> list[Record]:
        """The next of the backlog; none when the disk cannot be read now, which is said once."""
        try:
            records = self._spool.read(self._cursor, limit)
        except OSError as err:
            if self._unreadable != str(err):
                self._unreadable = str(err)
                log.warning("%s: cannot read the spool: %s", self._node, err)
            return []
        self._unreadable = ""
        return records

    def _send(self, record: Record) -> bool:
        quarter = max(1, self._settings.window // 4)
        ask = self._draining or self._unanswered or self._ask
        ask = ask or len(self._sent_s) % quarter == quarter - 1
        try:
            self._client.send(*self._message(record, ask=ask))
        except NotConnectedError:
            return False
        self._sent_s[record.seq] = self._clock.steady_s()
        self._ask = False
        return True

    def _message(self, record: Record, *, ask: bool) -> tuple[str, bytes]:
        if record.kind == "telemetry":
            header = format_header(self._node, self._spool.id, record.seq, ack=ask)
            return node_topic(self._node, "telemetry"), header + record.payload
        # not as an Event: one of another version, left in the spool, is none of ours to refuse
        event = msgspec.json.decode(record.payload, type=dict[str, msgspec.Raw])
        place = {"spool": self._spool.id, "seq": record.seq, "ack": ask}
        return node_topic(self._node, "event"), msgspec.json.encode(event | place)

    def _expire(self) -> None:
        """What was sent too long ago without an acknowledgement is sent again."""
        oldest_s = self._clock.steady_s() - self._settings.ack_timeout_s
        while self._sent_s:
            seq, sent_s = next(iter(self._sent_s.items()))
            if sent_s > oldest_s:
                return
            del self._sent_s[seq]
            self._cursor = min(self._cursor, seq - 1)
            self._unanswered = self._acked_s is None or self._acked_s < sent_s
