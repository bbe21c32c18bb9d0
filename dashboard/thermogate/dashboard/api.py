"""The HTTP API: every answer under a path of /api/v1, as JSON or CSV. `routes` lists it."""

from contextlib import aclosing
from typing import Literal, TypeVar, get_args

import msgspec
from aiohttp import web

from thermogate.core.errors import ConfigError
from thermogate.core.query import Reduction
from thermogate.core.schema import Kind
from thermogate.dashboard import admission, fleet, openapi
from thermogate.dashboard.answers import Answers, parse_device
from thermogate.dashboard.bounds import Turns
from thermogate.dashboard.judge import DeviceState
from thermogate.dashboard.pages import Pages
from thermogate.dashboard.paging import Page
from thermogate.dashboard.params import Params
from thermogate.dashboard.rankings import RANKINGS, Ranking, RankingName
from thermogate.dashboard.responses import (
    Handler,
    as_json,
    next_link,
    polled,
    send_csv,
    tagged,
)
from thermogate.dashboard.routes import PREFIX, ROUTES

_KINDS: tuple[Kind, ...] = ("gpu", "cpu")
_ORDERS: tuple[fleet.Order, ...] = get_args(fleet.Order)
_BY: tuple[Literal["job", "device"], ...] = ("job", "device")

T = TypeVar("T")


class Api:
    """Handlers over one `Answers`. They only read."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._pages = Pages(answers)
        self._document = openapi.document()
        self._exports = Turns(answers.settings.long_answers, "exports", "long_answers")

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
            "explain": self.explain,
            "export": self.export,
            "openapi.json": self.openapi,
        }
        return [web.get(f"{PREFIX}/{name}", handler) for name, handler in handlers.items()]

    async def info(self, request: web.Request) -> web.Response:
        """What runs here; where its data is, which may name paths and servers, for admins."""
        self._params(request)
        admitted = admission.of(request)
        info = msgspec.structs.replace(self._answers.info(), session=admitted.session)
        if admitted.scope != "admin":
            info = msgspec.structs.replace(info, broker_url="", store="")
        return as_json(info)

    async def openapi(self, request: web.Request) -> web.Response:
        """What can be asked."""
        self._params(request)
        return polled(request, self._document)

    async def fleet(self, request: web.Request) -> web.Response:
        """A row a device. The tag is weak: the ages of samples do not count as a change."""
        params = self._params(request)
        which = fleet.Filter(
            params.glob("node"),
            params.choice("state", get_args(DeviceState)),
            params.choice("kind", _KINDS),
        )
        order = params.choice("order", _ORDERS) or "urgency"
        page = await self._pages.fleet(which, order, params.integer("limit"), params.cursor())
        tag = f'W/"{fleet.digest(page.rows)}{"-" if page.next else ""}"'
        answer = _shape(page, params)
        return tagged(request, tag, lambda: msgspec.json.encode(answer), next_link(request, page.next))

    async def nodes(self, request: web.Request) -> web.Response:
        """The newest status of each node."""
        params = self._params(request)
        page = await self._pages.nodes(params.integer("limit"), params.cursor())
        return polled(request, _shape(page, params), next_link(request, page.next))

    async def series(self, request: web.Request) -> web.Response:
        """Fields of a device over a range."""
        params = self._params(request)
        params.required("node")
        device = parse_device(params.name("node") or "", params.required("device"))
        fields = tuple(dict.fromkeys(params.required("fields").split(",")))
        start_ns, end_ns = params.time("from"), params.time("to")
        return as_json(await self._answers.series(device, fields, start_ns, end_ns, params.duration("step")))

    async def top(self, request: web.Request) -> web.Response:
        """Devices ranked by a field, or by a ranking that has a name."""
        params = self._params(request)
        page = await self._pages.top(
            params.choice("kind", _KINDS) or "gpu",
            _ranking(params),
            params.time("from"),
            params.time("to"),
            params.integer("limit") or 1,
            params.cursor(),
        )
        return as_json(_shape(page, params), next_link(request, page.next))

    async def events(self, request: web.Request) -> web.Response:
        """What began and ended, newest first."""
        params = self._params(request)
        page = await self._pages.events(
            params.time("from"),
            params.time("to"),
            params.name("node"),
            params.integer("limit") or 1,
            params.cursor(),
        )
        return polled(request, _shape(page, params), next_link(request, page.next))

    async def jobs(self, request: web.Request) -> web.Response:
        """What jobs had, used and did."""
        params = self._params(request)
        found = await self._answers.jobs(
            params.time("from"),
            params.time("to"),
            params.text("job"),
            params.text("user"),
            params.name("node"),
            params.choice("by", _BY) or "job",
            params.integer("limit") or 1,
            params.cursor(),
            clip=params.boolean("clip"),
        )
        return as_json(found, next_link(request, found.next))

    async def gates(self, request: web.Request) -> web.Response:
        """The newest decision of each target."""
        self._params(request)
        return polled(request, await self._answers.gates())

    async def decisions(self, request: web.Request) -> web.Response:
        """Every decision, newest first."""
        params = self._params(request)
        page = await self._pages.decisions(
            params.time("from"),
            params.time("to"),
            params.name("target"),
            params.integer("limit") or 1,
            params.cursor(),
        )
        return polled(request, _shape(page, params), next_link(request, page.next))

    async def explain(self, request: web.Request) -> web.Response:
        """Why a target is held or is not."""
        params = self._params(request)
        target, span_ns = params.required("target"), params.duration("span")
        assert span_ns is not None  # it has a default
        given = params.time("at"), params.name("decision"), span_ns, params.text("device")
        return as_json(await self._answers.explain(target, *given))

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Samples as CSV, sent while they are read."""
        params = self._params(request)
        params.choice("format", ("csv",))
        pieces = self._answers.export(
            params.name("node"),
            params.text("device"),
            params.time("from"),
            params.time("to"),
            agent=params.boolean("agent"),
        )
        with self._exports.one():
            async with aclosing(pieces):
                return await send_csv(request, pieces, self._answers.settings.stalled_s)

    def _params(self, request: web.Request) -> Params:
        return Params(request.query, ROUTES[request.path].parameters, self._answers.clock.utc_ns())


def _shape(page: Page[T], params: Params) -> Page[T] | tuple[T, ...]:
    """A list, as long as nobody asks for a page."""
    return page if params.boolean("paged") else page.rows


def _ranking(params: Params) -> Ranking:
    named: RankingName | None = params.choice("ranking", get_args(RankingName))
    if named is None:
        by: Reduction = params.choice("by", get_args(Reduction)) or "mean"
        return Ranking("", "", params.required("field"), by, params.boolean("largest"))
    if params.given("field", "by", "largest"):
        raise ConfigError(f"ranking: {named} has its own field, by and largest: leave them out")
    return RANKINGS[named]
