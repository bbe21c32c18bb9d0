"""Every path of the HTTP API: what it takes, what it answers, and who may ask it.

The handlers, the check of who may, the OpenAPI document and its tests all read this one table.
"""

from typing import Any, Literal, get_args

import msgspec

from thermogate.core.decision import GateDecision
from thermogate.core.model import Event, Status
from thermogate.core.query import Ranked, Reduction, Series
from thermogate.dashboard.answers import Info
from thermogate.dashboard.explain import Explanation
from thermogate.dashboard.fleet import FleetRow
from thermogate.dashboard.jobs import JobAnswer
from thermogate.dashboard.judge import DeviceState
from thermogate.dashboard.params import Parameter
from thermogate.dashboard.rankings import RankingName
from thermogate.dashboard.tokens import Scope

PREFIX = "/api/v1"
MOST_ROWS = 10_000
"""Rows of one answer at most, so that one question cannot fill the memory; an export has no limit."""

Body = Literal["json", "csv", "stream"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One path. `answer` is the type of its JSON; a `paged` list comes in pages when asked for."""

    path: str
    what: str
    answer: Any
    parameters: tuple[Parameter, ...] = ()
    scope: Scope = "read"
    body: Body = "json"
    paged: bool = False
    tagged: bool = False


def _range(start: str, end: str = "now") -> tuple[Parameter, ...]:
    return (
        Parameter("from", "time", "Beginning of the range.", start),
        Parameter("to", "time", "End of the range, which is not in it.", end),
    )


def _limit(default: str | None) -> Parameter:
    what = "Most rows." if default else "Most rows; all of them when not given."
    return Parameter("limit", "integer", what, default, most=MOST_ROWS)


_CURSOR = Parameter("cursor", "cursor", "`next` of the page before; every other parameter stays as it was.")
_PAGES = (
    _CURSOR,
    Parameter("paged", "boolean", 'true: the answer is {"rows": [...], "next": "..."}, not a list.', "false"),
)
_NODE = Parameter("node", "name", "Of this node only.")
_KIND = Parameter("kind", "choice", "Kind of device.", "gpu", options=("gpu", "cpu"))
_DEVICE = 'A kind and a number, such as "gpu0" or "cpu0", or "node" for the node as a whole.'

_ROUTES = (
    Route(
        path="info",
        what="What runs here. Where it keeps and fetches its data is told to scope admin only.",
        answer=Info,
    ),
    Route(
        path="fleet",
        what="A row a device, what needs a person first.",
        answer=list[FleetRow],
        parameters=(
            Parameter("node", "glob", "Of nodes whose name is so; * stands for any characters, ? for one."),
            Parameter("state", "choice", "In this state only.", options=get_args(DeviceState)),
            Parameter("kind", "choice", "Of this kind only.", options=("gpu", "cpu")),
            Parameter(
                "order",
                "choice",
                "urgency, or place (by node and device), which does not change while one reads on.",
                "urgency",
                options=("urgency", "place"),
            ),
            _limit(None),
            *_PAGES,
        ),
        paged=True,
        tagged=True,
    ),
    Route(
        path="nodes",
        what="The newest status of each node, by name.",
        answer=list[Status],
        parameters=(_limit(None), *_PAGES),
        paged=True,
        tagged=True,
    ),
    Route(
        path="series",
        what="Mean, min, max and count of fields of a device, a point a step that has samples.",
        answer=list[Series],
        parameters=(
            Parameter("node", "name", "Its node.", required=True),
            Parameter("device", "text", _DEVICE, required=True),
            Parameter("fields", "text", "Fields, with commas between; docs/metrics.md.", required=True),
            *_range("15m"),
            Parameter("step", "duration", "Length of a step; about 600 of them when not given."),
        ),
    ),
    Route(
        path="top",
        what="Devices ranked over a range, by a ranking that has a name or by any field.",
        answer=list[Ranked],
        parameters=(
            _KIND,
            Parameter("field", "text", "Field to rank by; required unless `ranking` is given."),
            *_range("15m"),
            Parameter("limit", "integer", "Most rows.", "10", most=MOST_ROWS),
            Parameter("by", "choice", "What is made of its values.", "mean", options=get_args(Reduction)),
            Parameter("largest", "boolean", "false: the smallest first.", "true"),
            Parameter(
                "ranking",
                "choice",
                "Instead of field, by and largest.",
                options=get_args(RankingName),
            ),
            *_PAGES,
        ),
        paged=True,
    ),
    Route(
        path="events",
        what="What began and ended, newest first.",
        answer=list[Event],
        parameters=(*_range("24h"), _NODE, _limit("1000"), *_PAGES),
        paged=True,
        tagged=True,
    ),
    Route(
        path="jobs",
        what="What jobs had, used and did, the one that began last first.",
        answer=JobAnswer,
        parameters=(
            *_range("24h"),
            Parameter("job", "text", "A name, such as slurm:123, or an id alone."),
            Parameter("user", "text", "Of this user only."),
            Parameter("node", "name", "Only what was on this node."),
            Parameter("by", "choice", "A row a job, or a device of a job.", "job", options=("job", "device")),
            Parameter("clip", "boolean", "true: count only what lies in the range.", "false"),
            _limit("100"),
            _CURSOR,
        ),
    ),
    Route(
        path="gates",
        what="The newest decision of each target, expired ones included.",
        answer=list[GateDecision],
        tagged=True,
    ),
    Route(
        path="decisions",
        what="Every decision issued in the range, newest first.",
        answer=list[GateDecision],
        parameters=(
            *_range("24h"),
            Parameter("target", "name", "Of this target only."),
            _limit("1000"),
            *_PAGES,
        ),
        paged=True,
        tagged=True,
    ),
    Route(
        path="explain",
        what="Why a target is held or is not: its decision, signals, what was decided before, what was done.",
        answer=Explanation,
        parameters=(
            Parameter("target", "text", 'KIND/NAME, such as "node/n17".', required=True),
            Parameter("at", "time", "As it was at this time.", "now"),
            Parameter(
                "decision", "name", "As it was just after the decision with this id; `at` is not looked at."
            ),
            Parameter("span", "duration", "How long before it the series begin.", "30m"),
            Parameter("device", "text", 'With the series of this device of the node only, such as "gpu0".'),
        ),
    ),
    Route(
        path="export",
        what="Every sample as CSV, sent while it is read: a row a sample, an empty cell for what is absent.",
        answer=str,
        parameters=(
            _NODE,
            Parameter("device", "text", _DEVICE),
            *_range("0", str(2**62)),
            Parameter("agent", "boolean", "true: with the rows of the agents themselves.", "false"),
            Parameter(
                "format", "choice", "Only CSV; `thermogate export` makes Parquet.", "csv", options=("csv",)
            ),
        ),
        body="csv",
    ),
    Route(
        path="stream",
        what="Server-sent events: the fleet, then what changes of it, events and decisions as they appear.",
        answer=str,
        body="stream",
    ),
    Route(path="openapi.json", what="This description.", answer=dict[str, Any]),
)

ROUTES: dict[str, Route] = {f"{PREFIX}/{route.path}": route for route in _ROUTES}

SCOPES: dict[str, Scope] = {
    "/": "read",
    "/metrics": "read",
    **{path: route.scope for path, route in ROUTES.items()},
}
"""Who may ask a path while tokens are on; whoever may admin may read."""

OPEN_PATHS = frozenset({"/login", "/logout", "/static", "/plotly.min.js"})
"""What anybody may have: the form, files that are the same everywhere, and a library."""
