"""What the agent says of itself: its cost, its ticks, its spool; and what it does when it costs too much."""

import resource
import time
from collections.abc import Callable
from pathlib import Path

from thermogate.agent import budget
from thermogate.agent.budget import BudgetSettings
from thermogate.agent.config import AgentSettings
from thermogate.agent.feed import Feed, Tick
from thermogate.agent.spool import Drop, Spool
from thermogate.agent.uplink import Uplink
from thermogate.core.clock import NS
from thermogate.core.model import Event, EventKind
from thermogate.core.wire import format_line

_PAGE_BYTES = resource.getpagesize()

_BOUNDS = {
    "size": "the spool was full (agent.spool.max_bytes)",
    "age": "they were too old (agent.spool.max_age_s)",
    "memory": "the disk takes no records (agent.spool.memory_records)",
}


class SelfStats:
    """A line of telemetry and events every `selfstats_interval_s`; nothing at the ticks between.

    `budgeted` is what the process may cost, None when it does more than being an agent.
    """

    def __init__(
        self,
        feed: Feed,
        spool: Spool,
        uplink: Uplink,
        settings: AgentSettings,
        budgeted: BudgetSettings | None,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._feed = feed
        self._spool = spool
        self._uplink = uplink
        self._settings = settings
        self._budgeted = budgeted
        self._cpu_s = cpu_s
        self._budget: budget.State | None = None
        self._due_s = 0.0

    def step(self, tick: Tick) -> tuple[str, list[Event]]:
        """The line, "" for a replay, and what is to be reported at this tick."""
        if tick.elapsed_s < self._due_s:
            return "", []
        self._due_s = tick.elapsed_s + self._settings.selfstats_interval_s
        events = [self._dropped(drop, tick.time_ns) for drop in self._spool.take_dropped()]
        if self._feed.origin is not None:
            return "", events
        events += self._keep_to_budget(tick)
        return self._line(tick.time_ns), events

    def _line(self, time_ns: int) -> str:
        fields: dict[str, float | int | None] = {
            **self._feed.counters(),
            "spool_depth_count": self._spool.depth,
            "spool_bytes": self._spool.bytes,
            "spool_dropped_count": self._spool.dropped,
            "spool_lost_count": self._spool.lost,
            "spool_oldest_s": self._spool.oldest_s,
            "ack_age_s": self._uplink.ack_age_s,
            "frugal": self._budget is not None and self._budget.frugal,
            "cpu_s": self._cpu_s(),
            "rss_bytes": _resident_pages() * _PAGE_BYTES,
        }
        return format_line("agent", self._feed.node, "", "", None, fields, time_ns)

    def _keep_to_budget(self, tick: Tick) -> list[Event]:
        """Leave out optional sensors, or take them in again, as the agent's own cost asks."""
        if self._budgeted is None:
            return []
        uplink, acked_s = self._settings.uplink, self._uplink.ack_age_s
        heard = acked_s is not None and acked_s < uplink.ack_timeout_s
        catching_up = heard and self._spool.depth > uplink.window
        self._budget, change = budget.step(
            self._budgeted, self._budget, tick.elapsed_s, self._cpu_s(), catching_up=catching_up
        )
        if change is None:
            return []
        self._feed.economize(frugal=change.frugal)
        return [self._event(change.event, change.text, tick.time_ns, change.data)]

    def _dropped(self, drop: Drop, time_ns: int) -> Event:
        text = f"{drop.records} messages were dropped before a store had them: {_BOUNDS[drop.why]}"
        data: dict[str, float | str] = {
            "why": drop.why,
            "dropped_count": float(drop.records),
            "oldest_s": (time_ns - drop.from_ns) / NS,
            "newest_s": (time_ns - drop.to_ns) / NS,
        }
        return self._event("samples_dropped", text, time_ns, data)

    def _event(self, event: EventKind, text: str, time_ns: int, data: dict[str, float | str]) -> Event:
        origin = self._feed.origin
        return Event(node=self._feed.node, event=event, time_ns=time_ns, text=text, data=data, origin=origin)


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
