"""One poll of the store for all open pages, and what waits for each of them."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from thermogate.core.clock import NS
from thermogate.core.errors import StoreError
from thermogate.dashboard import fleet
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import END_OF_TIME_NS

_LIST_LIMIT = 1000


def message(event: str, data: object) -> bytes:
    """One server-sent event; JSON has no line break, so `data` is one line."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))


class Mailbox:
    """What waits for one client. However slow it is, this holds one state and `backlog` items.

    A newer state (fleet or problem) replaces one that was not taken; items that do not fit make way
    for one `missed`, after which the client fetches the lists again.
    """

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._state: bytes | None = None
        self._items: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self.closed = False

    def put_state(self, state: bytes) -> None:
        """Replace the state that waits."""
        self._state = state
        self._arrived.set()

    def put_items(self, items: Iterable[bytes]) -> None:
        """Add events and decisions, oldest first."""
        self._items.extend(items)
        if len(self._items) > self._backlog:
            self._items.clear()
            self._items.append(message("missed", {}))
        if self._items:
            self._arrived.set()

    def close(self) -> None:
        """Wake the client for the last time."""
        self.closed = True
        self._arrived.set()

    async def take(self) -> bytes:
        """All that waits, once there is something; empty when closed."""
        await self._arrived.wait()
        self._arrived.clear()
        taken = (self._state or b"") + b"".join(self._items)
        self._state = None
        self._items.clear()
        return b"" if self.closed else taken


class Feed:
    """Polls while somebody listens: `run` it, and `listen` to it any number of times."""

    def __init__(self, answers: Answers, settings: DashboardSettings) -> None:
        self._answers = answers
        self._settings = settings
        self._clock = answers.clock
        self._mailboxes: set[Mailbox] = set()
        self._wanted = asyncio.Event()
        self._closed = False
        self._state: bytes | None = None
        self._known: frozenset[bytes] | None = None
        self._digest = ""

    @contextmanager
    def listen(self) -> Iterator[Mailbox]:
        """A mailbox that is filled until the block ends; the present state is in it at once."""
        mailbox = Mailbox(self._settings.client_backlog)
        if self._closed:
            mailbox.close()
        if self._state is not None:
            mailbox.put_state(self._state)
        self._mailboxes.add(mailbox)
        self._wanted.set()
        try:
            yield mailbox
        finally:
            self._mailboxes.discard(mailbox)
            if not self._mailboxes:
                self._wanted.clear()
                self._forget()

    def close(self) -> None:
        """Let every client go."""
        self._closed = True
        for mailbox in self._mailboxes:
            mailbox.close()

    async def run(self) -> None:
        """Poll once a period, for ever; a store that does not answer is told to the pages."""
        while True:
            await self._wanted.wait()
            due_s = self._clock.steady_s() + self._settings.poll_s
            try:
                async with asyncio.timeout(self._settings.store_timeout_s):
                    await self._poll()
            except StoreError as err:
                self._problem(str(err))
            except TimeoutError:
                self._problem(f"the store has not answered for {self._settings.store_timeout_s:g} s")
            await self._clock.sleep_until(due_s)

    async def _poll(self) -> None:
        now_ns = self._clock.utc_ns()
        since_ns = max(0, now_ns - int(self._settings.live_window_s * NS))
        rows = await self._answers.fleet()
        events = await self._answers.events(since_ns, END_OF_TIME_NS, limit=_LIST_LIMIT)
        decisions = await self._answers.decisions(since_ns, END_OF_TIME_NS, limit=_LIST_LIMIT)
        self._publish_new(
            {message("event", e): None for e in events} | {message("decision", d): None for d in decisions}
        )
        digest = fleet.digest(rows)
        if digest != self._digest:
            self._digest = digest
            self._publish_state(message("fleet", {"now_ns": now_ns, "rows": rows}))

    def _publish_new(self, found: dict[bytes, None]) -> None:
        """Send what the last poll had not; the first poll only takes note of what there is."""
        if self._known is not None:
            new = [item for item in reversed(found) if item not in self._known]
            for mailbox in self._mailboxes:
                mailbox.put_items(new)
        self._known = frozenset(found)

    def _publish_state(self, state: bytes) -> None:
        self._state = state
        for mailbox in self._mailboxes:
            mailbox.put_state(state)

    def _problem(self, text: str) -> None:
        self._digest = ""
        self._publish_state(message("problem", {"now_ns": self._clock.utc_ns(), "error": text}))

    def _forget(self) -> None:
        """Nobody listens: what is known will be old when somebody does."""
        self._state = None
        self._known = None
        self._digest = ""
