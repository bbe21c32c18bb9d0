"""The questions people ask, answered from any store: what the HTTP API serves and the CLI prints."""

import re
from collections.abc import AsyncGenerator, Callable
from typing import Literal, cast

import msgspec

from thermogate.core import __version__
from thermogate.core.clock import NS, Clock
from thermogate.core.decision import GateDecision
from thermogate.core.errors import ConfigError
from thermogate.core.model import Event, Status
from thermogate.core.query import Device, Query, Ranked, Reduction, Series
from thermogate.core.schema import MEASUREMENTS, Kind
from thermogate.dashboard import export, fleet, job_answers
from thermogate.dashboard.fleet import FleetRow
from thermogate.dashboard.job_answers import JobQuestion
from thermogate.dashboard.jobs import JobAnswer, JobRow
from thermogate.dashboard.judge import DeviceState
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import END_OF_TIME_NS

__all__ = ["Answers", "DeviceState", "FleetRow", "Info", "JobAnswer", "JobRow", "parse_device"]

_DEVICE_RE = re.compile(r"(gpu|cpu)([A-Za-z0-9._-]{1,125})|(node)")
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here. `counters` are the collector's: stored, quarantined and so on."""

    version: str
    now_ns: int
    started_ns: int
    broker_url: str = ""
    store: str = ""
    counters: dict[str, int] = {}


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
    ) -> None:
        self.clock = clock
        self.settings = settings
        self._query = query
        self._started_ns = clock.utc_ns()
        self._broker_url = broker_url
        self._store = store
        self._counters = counters

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
        latest = await self._query.latest()
        statuses = await self._query.statuses()
        gates = await self._query.gates()
        return fleet.rows(latest, statuses, gates, self.clock.utc_ns(), self.settings)

    async def nodes(self) -> list[Status]:
        """The newest status of each node, in natural order."""
        return sorted(await self._query.statuses(), key=lambda status: fleet.natural(status.node))

    async def series(
        self,
        device: Device,
        fields: tuple[str, ...],
        start_ns: int,
        end_ns: int,
        step_ns: int | None = None,
    ) -> list[Series]:
        """Fields of a device over a range; without a step, one that gives about `chart_points`."""
        _check_range(start_ns, end_ns)
        for field in fields:
            _check_field(device.kind, field)
        step_ns = self._step(end_ns - start_ns, step_ns)
        return await self._query.series(device, fields, start_ns=start_ns, end_ns=end_ns, step_ns=step_ns)

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
        _check_range(start_ns, end_ns)
        _check_field(kind, field)
        return await self._query.top(
            kind, field, start_ns=start_ns, end_ns=end_ns, limit=limit, by=by, largest=largest
        )

    async def events(
        self, start_ns: int, end_ns: int, node: str | None = None, limit: int = 1000
    ) -> list[Event]:
        """Newest first."""
        _check_range(start_ns, end_ns)
        return await self._query.events(start_ns=start_ns, end_ns=end_ns, node=node, limit=limit)

    async def jobs(
        self,
        start_ns: int,
        end_ns: int,
        job: str | None = None,
        user: str | None = None,
        node: str | None = None,
        by: Literal["job", "device"] = "job",
        limit: int = 100,
        *,
        clip: bool = False,
    ) -> JobAnswer:
        """What jobs had, used and did, the one that began last first; see `JobQuestion`."""
        _check_range(start_ns, end_ns)
        if limit < 1:
            raise ConfigError("limit: expected a whole number from 1")
        question = JobQuestion(
            start_ns=start_ns,
            end_ns=end_ns,
            job=job,
            user=user,
            node=node,
            by_device=by == "device",
            clip=clip,
            limit=limit,
        )
        return await job_answers.answer(self._query, question, self.clock.utc_ns(), self.settings)

    async def gates(self) -> list[GateDecision]:
        """The newest decision of each target, expired ones included."""
        return await self._query.gates()

    async def decisions(
        self, start_ns: int, end_ns: int, target: str | None = None, limit: int = 1000
    ) -> list[GateDecision]:
        """Every decision issued in the range, newest first."""
        _check_range(start_ns, end_ns)
        return await self._query.decisions(start_ns=start_ns, end_ns=end_ns, target=target, limit=limit)

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
        _check_range(start_ns, end_ns)
        if device is not None:
            parse_device(node or "", device)
        chunks = self._query.samples(start_ns=start_ns, end_ns=end_ns, node=node, device=device)
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


def _check_range(start_ns: int, end_ns: int) -> None:
    if start_ns >= end_ns:
        raise ConfigError("from: expected a time before `to`")


def _check_field(kind: Kind, field: str) -> None:
    known = [f.name for f in MEASUREMENTS[kind].fields]
    if field not in known:
        raise ConfigError(f"field: {kind} has no {field[:80]!r}: expected one of {', '.join(known)}")
