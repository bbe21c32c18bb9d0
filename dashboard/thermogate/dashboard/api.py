"""The HTTP API: every answer under a path of /api/v1, as JSON or CSV. docs/api.md lists it."""

from contextlib import aclosing
from typing import Literal, cast, get_args

import msgspec
from aiohttp import web

from thermogate.core.query import Reduction
from thermogate.core.schema import Kind
from thermogate.dashboard import fleet
from thermogate.dashboard.answers import Answers, parse_device
from thermogate.dashboard.params import Params
from thermogate.dashboard.responses import PREFIX, Handler, as_json, polled, send_csv, tagged
from thermogate.dashboard.times import END_OF_TIME_NS

MOST_ROWS = 10_000
"""Rows of a list at most, so that one question cannot fill the memory; an export has no limit."""

_RANGE = ("from", "to")


class Api:
    """Handlers over one `Answers`. They only read."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def routes(self) -> list[web.RouteDef]:
        """Everything but the stream."""
        handlers: dict[str, Handler] = {
            "info": self.info,
            "fleet": self.fleet,
            "nodes": self.nodes,
            "series": self.series,
            "top": self.top,
            "events": self.events,
            "jobs": self.jobs,
            "gates": self.gates,
            "decisions": self.decisions,
            "export": self.export,
        }
        return [web.get(f"{PREFIX}/{name}", handler) for name, handler in handlers.items()]

    async def info(self, request: web.Request) -> web.Response:
        """What runs here."""
        self._params(request)
        return as_json(self._answers.info())

    async def fleet(self, request: web.Request) -> web.Response:
        """A row a device. The tag is weak: the ages of samples do not count as a change."""
        self._params(request)
        rows = await self._answers.fleet()
        return tagged(request, f'W/"{fleet.digest(rows)}"', lambda: msgspec.json.encode(rows))

    async def nodes(self, request: web.Request) -> web.Response:
        """The newest status of each node."""
        self._params(request)
        return polled(request, await self._answers.nodes())

    async def series(self, request: web.Request) -> web.Response:
        """Fields of a device over a range."""
        params = self._params(request, "node", "device", "fields", *_RANGE, "step")
        params.required("node")
        device = parse_device(params.name("node") or "", params.required("device"))
        fields = tuple(params.required("fields").split(","))
        start_ns, end_ns = params.time("from", "15m"), params.time("to", "now")
        return as_json(await self._answers.series(device, fields, start_ns, end_ns, params.duration("step")))

    async def top(self, request: web.Request) -> web.Response:
        """Devices ranked by a field."""
        params = self._params(request, "kind", "field", *_RANGE, "limit", "by", "largest")
        ranked = await self._answers.top(
            cast("Kind", params.choice("kind", ("gpu", "cpu"), "gpu")),
            params.required("field"),
            params.time("from", "15m"),
            params.time("to", "now"),
            params.integer("limit", 10, MOST_ROWS),
            cast("Reduction", params.choice("by", get_args(Reduction), "mean")),
            largest=params.boolean("largest", default=True),
        )
        return as_json(ranked)

    async def events(self, request: web.Request) -> web.Response:
        """What began and ended, newest first."""
        params = self._params(request, *_RANGE, "node", "limit")
        start_ns, end_ns = params.time("from", "24h"), params.time("to", "now")
        limit = params.integer("limit", 1000, MOST_ROWS)
        return polled(request, await self._answers.events(start_ns, end_ns, params.name("node"), limit))

    async def jobs(self, request: web.Request) -> web.Response:
        """What jobs had, used and did."""
        params = self._params(request, *_RANGE, "job", "user", "node", "by", "clip", "limit")
        rows = await self._answers.jobs(
            params.time("from", "24h"),
            params.time("to", "now"),
            params.text("job"),
            params.text("user"),
            params.name("node"),
            cast("Literal['job', 'device']", params.choice("by", ("job", "device"), "job")),
            params.integer("limit", 100, MOST_ROWS),
            clip=params.boolean("clip", default=False),
        )
        return as_json(rows)

    async def gates(self, request: web.Request) -> web.Response:
        """The newest decision of each target."""
        self._params(request)
        return polled(request, await self._answers.gates())

    async def decisions(self, request: web.Request) -> web.Response:
        """Every decision, newest first."""
        params = self._params(request, *_RANGE, "target", "limit")
        start_ns, end_ns = params.time("from", "24h"), params.time("to", "now")
        limit = params.integer("limit", 1000, MOST_ROWS)
        return polled(request, await self._answers.decisions(start_ns, end_ns, params.name("target"), limit))

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Samples as CSV, sent while they are read."""
        params = self._params(request, "node", "device", *_RANGE, "agent", "format")
        params.choice("format", ("csv",), "csv")
        pieces = self._answers.export(
            params.name("node"),
            params.name("device"),
            params.time("from", "0"),
            params.time("to", str(END_OF_TIME_NS)),
            agent=params.boolean("agent", default=False),
        )
        async with aclosing(pieces):
            return await send_csv(request, pieces)

    def _params(self, request: web.Request, *known: str) -> Params:
        return Params(request.query, known, self._answers.clock.utc_ns())
