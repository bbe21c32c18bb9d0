"""The questions people ask, answered from any store: what the HTTP API serves and the CLI prints."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Literal, cast

import msgspec

from thermogate.core import __version__
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import ConfigError
from thermogate.core.model import Event, Status
from thermogate.core.query import Device, Query, Ranked, Reduction, Series
from thermogate.core.schema import DEVICE_KINDS, MEASUREMENTS, SIGNAL_FIELDS, Kind
from thermogate.dashboard import export, fleet, job_answers, paging, rankings, signals
from thermogate.dashboard.explain import Explanation, explain, parse_target
from thermogate.dashboard.fleet import FleetRow
from thermogate.dashboard.job_answers import JobPlace, JobQuestion
from thermogate.dashboard.jobs import JobAnswer, JobRow
from thermogate.dashboard.judge import DeviceState
from thermogate.dashboard.present import Present, present
from thermogate.dashboard.rankings import RANKINGS, Ranking, RankingName
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import END_OF_TIME_NS

__all__ = ["Answers", "DeviceState", "FleetRow", "Info", "JobAnswer", "JobRow", "parse_device"]

_DEVICE_RE = re.compile(r"(gpu|cpu)([A-Za-z0-9._-]{1,125})|(node)")
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)

EXPLAINED_NS = 1800 * NS
"""How long before a decision its signals are shown: over which the regulator learns what is normal."""
MOST_EXPLAINED_NS = 86_400 * NS

_MANY = 1000
"""Devices whose rows are put together in a thread."""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here. `counters` are the collector's: stored, quarantined and so on.

    `broker_url` and `store` are empty for who may only read; `session` says that a browser asked which
    is logged in.
    """

    version: str
    now_ns: int
    started_ns: int
    broker_url: str = ""
    store: str = ""
    counters: dict[str, int] = {}
    session: bool = False


class Answers:
    """Reads one store. Every method that reads raises StoreError when the store cannot answer.

    Arguments that make no sense raise ConfigError. Times are UTC nanoseconds, ranges [start, end).
    """

    def __init__(
        self,
        query: Query,
        clock: Clock,
        settings: DashboardSettings,
        *,
        broker_url: str = "",
        store: str = "",
        counters: Callable[[], dict[str, int]] = dict,
        bounds: Mapping[str, float] = {},
    ) -> None:
        """`bounds` are the regulator's, by signal."""
        self.clock = clock
        self.settings = settings
        self.query = query
        self._started_ns = clock.utc_ns()
        self._broker_url = broker_url
        self._store = store
        self._counters = counters
        self._bounds = dict(bounds)

    def info(self) -> Info:
        """What runs here, and since when."""
        return Info(
            version=__version__,
            now_ns=self.clock.utc_ns(),
            started_ns=self._started_ns,
            broker_url=self._broker_url,
            store=self._store,
            counters=self._counters(),
        )

    async def fleet(self) -> list[FleetRow]:
        """A row a device, those that need a person first."""
        latest = await self.query.latest()
        statuses = await self.query.statuses()
        gates = await self.query.gates()
        given = (latest, statuses, gates, self.clock.utc_ns(), self.settings)
        # A fleet of thousands would hold up every other answer for a tenth of a second.
        return await asyncio.to_thread(fleet.rows, *given) if len(latest) > _MANY else fleet.rows(*given)

    async def present(self) -> Present:
        """What other systems are told of the fleet now; put together in a thread, as it may be large."""
        latest = await self.query.latest()
        statuses = await self.query.statuses()
        gates = await self.query.gates()
        now_ns = self.clock.utc_ns()
        return await asyncio.to_thread(present, latest, statuses, gates, now_ns, self.settings)

    async def nodes(self) -> list[Status]:
        """The newest status of each node, in natural order."""
        return sorted(await self.query.statuses(), key=lambda status: fleet.by_name(status.node))

    async def series(
        self,
        device: Device,
        fields: tuple[str, ...],
        start_ns: int,
        end_ns: int,
        step_ns: int | None = None,
    ) -> list[Series]:
        """Fields of a device over a range; without a step, one that gives about `chart_points`."""
        check_range(start_ns, end_ns)
        for field in fields:
            _check_field(device.kind, field)
        step_ns = self._step(end_ns - start_ns, step_ns)
        return await signals.series(self.query, device, fields, start_ns, end_ns, step_ns)

    async def top(
        self,
        kind: Kind,
        field: str,
        start_ns: int,
        end_ns: int,
        limit: int = 10,
        by: Reduction = "mean",
        *,
        largest: bool = True,
    ) -> list[Ranked]:
        """The devices with the largest (or smallest) mean, min or max of a field over a range."""
        return await self.ranked(kind, Ranking("", "", field, by, largest), start_ns, end_ns, limit)

    async def ranking(
        self, kind: Kind, ranking: RankingName, start_ns: int, end_ns: int, limit: int = 10
    ) -> list[Ranked]:
        """The first devices of a ranking that has a name."""
        return await self.ranked(kind, RANKINGS[ranking], start_ns, end_ns, limit)

    async def ranked(
        self, kind: Kind, ranking: Ranking, start_ns: int, end_ns: int, limit: int
    ) -> list[Ranked]:
        """The first devices of a ranking, equal values in the order of their names."""
        check_range(start_ns, end_ns)
        _check_limit(limit)
        if ranking.field:
            _check_field(kind, ranking.field)
        if signals.is_signal(kind, ranking.field):
            most = self.settings.ranking_devices
            found = await signals.top(self.query, kind, ranking, start_ns, end_ns, limit, most)
        elif ranking.field:
            found = await self.query.top(
                kind,
                ranking.field,
                start_ns=start_ns,
                end_ns=end_ns,
                limit=limit,
                by=ranking.by,
                largest=ranking.largest,
            )
        else:
            most = self.settings.ranking_events
            found = await rankings.collapses(self.query, kind, start_ns, end_ns, most)
        return sorted(found, key=lambda one: rankings.order(one, largest=ranking.largest))[:limit]

    async def events(
        self, start_ns: int, end_ns: int, node: str | None = None, limit: int = 1000
    ) -> list[Event]:
        """Newest first."""
        check_range(start_ns, end_ns)
        _check_limit(limit)
        return await self.query.events(start_ns=start_ns, end_ns=end_ns, node=node, limit=limit)

    async def jobs(
        self,
        start_ns: int,
        end_ns: int,
        job: str | None = None,
        user: str | None = None,
        node: str | None = None,
        by: Literal["job", "device"] = "job",
        limit: int = 100,
        cursor: str | None = None,
        *,
        clip: bool = False,
    ) -> JobAnswer:
        """What jobs had, used and did, the one that began last first; see `JobQuestion`."""
        _check_limit(limit)
        asked = paging.question(("jobs", job, user, node, by, clip), start_ns, end_ns, limit, cursor)
        check_range(asked.start_ns, asked.end_ns)
        question = JobQuestion(
            start_ns=asked.start_ns,
            end_ns=asked.end_ns,
            job=job,
            user=user,
            node=node,
            by_device=by == "device",
            clip=clip,
            limit=limit,
            after=asked.after(JobPlace),
        )
        found = await job_answers.answer(self.query, question, self.clock.utc_ns(), self.settings)
        return JobAnswer(found.rows, found.left_out, asked.cursor(found.last) if found.last else None)

    async def gates(self) -> list[GateDecision]:
        """The newest decision of each target, expired ones included."""
        return await self.query.gates()

    async def decisions(
        self, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """Every decision issued in the range, newest first."""
        check_range(start_ns, end_ns)
        _check_limit(limit)
        return await self.query.decisions(start_ns=start_ns, end_ns=end_ns, target=target, limit=limit)

    async def explain(
        self,
        target: str,
        at_ns: int | None = None,
        decision: str | None = None,
        span_ns: int = EXPLAINED_NS,
        device: str | None = None,
    ) -> Explanation:
        """Why a target ("node/n17") is held or is not: now, at a time, or just after a decision.

        With the series of one device of the node ("gpu0") only, when it is named.
        """
        kind, name = parse_target(target)
        if not NS <= span_ns <= MOST_EXPLAINED_NS:
            raise ConfigError(f"span: expected 1 s to {MOST_EXPLAINED_NS // NS // 3600} h")
        at_ns = self.clock.utc_ns() if at_ns is None else at_ns
        only = None if device is None else parse_device(name, device)
        return await explain(self.query, kind, name, at_ns, span_ns, self._bounds, decision, only)

    def export(
        self,
        node: str | None = None,
        device: str | None = None,
        start_ns: int = 0,
        end_ns: int = END_OF_TIME_NS,
        *,
        agent: bool = False,
    ) -> AsyncGenerator[str, None]:
        """Samples as CSV in pieces of whole lines, to be written one after the other as they are.

        `device` is a kind and number ("gpu0"), or "node". The rows of the agents themselves only with
        `agent`.
        """
        check_range(start_ns, end_ns)
        if device is not None:
            parse_device(node or "", device)
        chunks = self.query.samples(start_ns=start_ns, end_ns=end_ns, node=node, device=device)
        return export.csv(chunks, agent=agent)

    def _step(self, range_ns: int, asked_ns: int | None) -> int:
        if asked_ns is None:
            fit = (step for step in _STEPS_S if range_ns <= step * NS * self.settings.chart_points)
            return next(fit, _STEPS_S[-1]) * NS
        if asked_ns <= 0 or range_ns > asked_ns * self.settings.max_points:
            least_s = -(-range_ns // (self.settings.max_points * NS))
            raise ConfigError(f"step: expected {max(1, least_s)} s or more for this range")
        return asked_ns


def parse_device(node: str, text: str) -> Device:
    """The Device of "gpu0" on `node`, or of "node", the node as a whole. Raises ConfigError for others."""
    match = _DEVICE_RE.fullmatch(text)
    if match is None:
        raise ConfigError(f"device: {text[:80]!r} is not a kind and a number, such as gpu0 or cpu0, nor node")
    return Device(node, cast("Kind", match[1] or match[3]), match[2] or "")


def check_range(start_ns: int, end_ns: int) -> None:
    """Raises ConfigError for a range that ends before it begins."""
    if start_ns >= end_ns:
        raise ConfigError("from: expected a time before `to`")


def _check_limit(limit: int) -> None:
    if limit < 1:
        raise ConfigError("limit: expected a whole number from 1")


def _check_field(kind: Kind, field: str) -> None:
    known = [f.name for f in MEASUREMENTS[kind].fields]
    known += SIGNAL_FIELDS if kind in DEVICE_KINDS else ()
    if field not in known:
        raise ConfigError(f"field: {kind} has no {field[:80]!r}: expected one of {', '.join(known)}")
