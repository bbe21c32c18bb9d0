"""Panels and boards as Grafana's JSON, from the few words that differ between them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

SCHEMA_VERSION = 38
"""Of Grafana 10; later ones migrate it when they load it."""

Json = dict[str, Any]
Source = Literal["influxdb", "prometheus"]
Kind = Literal["timeseries", "stat", "table", "bargauge", "state-timeline"]

_WIDTH = 24


class Query(NamedTuple):
    """A query with the name of its series; `instant` asks for the end of the range only."""

    text: str
    name: str = ""
    instant: bool = False


class Panel(NamedTuple):
    """`width` of 24. Panels fill rows from the left; `unit` is one of Grafana's."""

    title: str
    kind: Kind
    unit: str
    queries: Sequence[Query]
    what: str = ""
    width: int = 12
    height: int = 8
    stacked: bool = False
    most: float | None = None


class Variable(NamedTuple):
    """A choice filled by a query."""

    name: str
    label: str
    query: str
    many: bool = False


class Board(NamedTuple):
    """`uid` is its name in links and provisioning."""

    uid: str
    title: str
    what: str
    variables: Sequence[Variable]
    panels: Sequence[Panel]
    links: Mapping[str, str]
    range_minutes: int = 30


ORIGINS = {"everything": ".*", "measured only": "^$", "replayed or simulated": ".+"}


def board_json(board: Board, source: Source) -> Json:
    """As provisioning and import take it."""
    return {
        "annotations": {"list": []},
        "description": board.what,
        "editable": True,
        "graphTooltip": 1,
        "id": None,
        "links": [_link(title, uid) for title, uid in board.links.items()],
        "panels": _placed(board.panels, source),
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["thermogate"],
        "templating": {"list": _variables(board, source)},
        "time": {"from": f"now-{board.range_minutes}m", "to": "now"},
        "timezone": "",
        "title": board.title,
        "uid": board.uid,
        "version": 1,
    }


def _link(title: str, uid: str) -> Json:
    return {
        "title": title,
        "type": "link",
        "url": f"/d/{uid}",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _placed(panels: Sequence[Panel], source: Source) -> list[Json]:
    placed = []
    x = y = row_height = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > _WIDTH:
            x, y, row_height = 0, y + row_height, 0
        grid = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        placed.append(_panel(panel, number, grid, source))
        x, row_height = x + panel.width, max(row_height, panel.height)
    return placed


def _panel(panel: Panel, number: int, grid: Json, source: Source) -> Json:
    defaults: Json = {"unit": panel.unit, "custom": _custom(panel)}
    if panel.most is not None:
        defaults |= {"min": 0, "max": panel.most}
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.what,
        "datasource": _datasource(source),
        "gridPos": grid,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [_target(query, chr(65 + n), panel, source) for n, query in enumerate(panel.queries)],
    }
    if panel.kind in ("timeseries", "state-timeline"):
        made["interval"] = "5s" if source == "influxdb" else "15s"
    return made


def _custom(panel: Panel) -> Json:
    if panel.kind != "timeseries":
        return {}
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if panel.stacked else 0,
        "showPoints": "never",
        "spanNulls": False,  # a gap is a time in which nothing was measured
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }


def _options(panel: Panel) -> Json:
    reduced = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    if panel.kind == "stat":
        return {**reduced, "colorMode": "none", "graphMode": "none", "textMode": "auto"}
    if panel.kind == "bargauge":
        return {**reduced, "displayMode": "basic", "orientation": "horizontal"}
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {}


def _target(query: Query, ref: str, panel: Panel, source: Source) -> Json:
    common = {"refId": ref, "datasource": _datasource(source)}
    if source == "influxdb":
        form = "table" if panel.kind == "table" else "time_series"
        return {**common, "query": query.text, "rawQuery": True, "resultFormat": form, "alias": query.name}
    return {
        **common,
        "expr": query.text,
        "legendFormat": query.name or "__auto",
        "format": "table" if panel.kind == "table" else "time_series",
        "instant": query.instant,
        "range": not query.instant,
        "editorMode": "code",
    }


def _variables(board: Board, source: Source) -> list[Json]:
    shown = {"influxdb": "InfluxDB", "prometheus": "Prometheus"}[source]
    data_source: Json = {
        "name": "datasource",
        "label": shown,
        "type": "datasource",
        "query": source,
        "refresh": 1,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "regex": "",
    }
    filtered = any("${origin" in query.text for panel in board.panels for query in panel.queries)
    asked = [_variable(one, source) for one in board.variables]
    return [data_source, *asked, *([_origin()] if filtered else [])]


def _variable(variable: Variable, source: Source) -> Json:
    query: object = variable.query
    if source == "prometheus":
        query = {"query": variable.query, "refId": variable.name}
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": _datasource(source),
        "definition": variable.query,
        "query": query,
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": variable.many,
        "includeAll": variable.many,
        "current": {"text": "All", "value": "$__all"} if variable.many else {},
        "options": [],
        "regex": "",
    }


def _origin() -> Json:
    options = [{"text": text, "value": value, "selected": value == ".*"} for text, value in ORIGINS.items()]
    return {
        "name": "origin",
        "label": "Origin",
        "type": "custom",
        "query": ", ".join(f"{text} : {value}" for text, value in ORIGINS.items()),
        "current": options[0],
        "options": options,
        "hide": 0,
        "multi": False,
        "includeAll": False,
    }


def _datasource(source: Source) -> Json:
    return {"type": source, "uid": "${datasource}"}
