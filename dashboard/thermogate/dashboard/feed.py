"""One poll of the store for all open pages, and what waits for each of them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from thermogate.core.clock import NS
from thermogate.core.errors import StoreError
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.changes import Told
from thermogate.dashboard.fleet import FleetRow
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import END_OF_TIME_NS

_LIST_LIMIT = 1000
_MOST_CHANGES = 10
"""That wait for a client: as long as the whole fleet, which is then told instead."""


def message(event: str, data: object) -> bytes:
    """One server-sent event; JSON has no line break, so `data` is one line."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))


class Mailbox:
    """What waits for one client. However slow it is, this holds a few changes and `backlog` items.

    A client that has not taken the changes gets the whole fleet instead (`whole()`, empty while it is not
    known); items that do not fit make way for one `missed`, after which it fetches the lists again.
    """

    def __init__(self, backlog: int, whole: Callable[[], bytes]) -> None:
        self._backlog = backlog
        self._whole = whole
        self._behind = True
        self._changes: list[bytes] = []
        self._problem = b""
        self._items: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self.closed = False

    def put_changes(self, changes: bytes) -> None:
        """Add what leads from the state before to the present one."""
        self._problem = b""
        if not self._behind:
            self._changes.append(changes)
        if len(self._changes) > _MOST_CHANGES:
            self._behind = True
            self._changes.clear()
        self._arrived.set()

    def put_problem(self, problem: bytes) -> None:
        """The state is of the past until the next changes."""
        self._problem = problem
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
        if self.closed:
            return b""
        if self._behind:
            whole = self._whole()
            self._behind = not whole
            self._changes = [whole]
        taken = b"".join((*self._changes, self._problem, *self._items))
        self._changes.clear()
        self._problem = b""
        self._items.clear()
        return taken


class Feed:
    """Polls while somebody listens: `run` it, and `listen` to it any number of times."""

    def __init__(self, answers: Answers, settings: DashboardSettings) -> None:
        self._answers = answers
        self._settings = settings
        self._clock = answers.clock
        self._mailboxes: set[Mailbox] = set()
        self._wanted = asyncio.Event()
        self._closed = False
        self._told: Told | None = None
        self._whole = b""
        self._problem = b""
        self._known: frozenset[bytes] | None = None

    @contextmanager
    def listen(self) -> Iterator[Mailbox]:
        """A mailbox that is filled until the block ends; the present state is in it at once."""
        mailbox = Mailbox(self._settings.client_backlog, self._present)
        if self._closed:
            mailbox.close()
        if self._problem:
            mailbox.put_problem(self._problem)
        elif self._told is not None:
            mailbox.put_changes(b"")
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
                self._problem_of(str(err))
            except TimeoutError:
                self._problem_of(f"the store has not answered for {self._settings.store_timeout_s:g} s")
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
        self._publish_rows(rows, now_ns)

    def _publish_rows(self, rows: list[FleetRow], now_ns: int) -> None:
        """Also when nothing has changed, but was not known before or could not be."""
        self._told, first = self._told or Told(), self._told is None
        changes = self._told.update(rows, now_ns, force=first or bool(self._problem))
        if changes is None:
            return
        self._whole = self._problem = b""
        body = message("changes", changes)
        for mailbox in self._mailboxes:
            mailbox.put_changes(body)

    def _present(self) -> bytes:
        """The whole fleet, encoded once for all who need it."""
        if not self._whole and self._told is not None:
            self._whole = message("fleet", self._told.whole())
        return self._whole

    def _publish_new(self, found: dict[bytes, None]) -> None:
        """Send what the last poll had not; the first poll only takes note of what there is."""
        if self._known is not None:
            new = [item for item in reversed(found) if item not in self._known]
            for mailbox in self._mailboxes:
                mailbox.put_items(new)
        self._known = frozenset(found)

    def _problem_of(self, text: str) -> None:
        self._problem = message("problem", {"now_ns": self._clock.utc_ns(), "error": text})
        for mailbox in self._mailboxes:
            mailbox.put_problem(self._problem)

    def _forget(self) -> None:
        """Nobody listens: what is known will be old when somebody does."""
        self._told = None
        self._whole = self._problem = b""
        self._known = None
