"""Every query of every board, as Grafana would send it, to real servers with samples in them.

How Grafana draws the answers is not seen here: it is not to be had on the machines that run these tests.
"""

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from tests import servers
from tests.fake_fleet import decision
from tests.integration.scraping import NODES, Asking, scraped, victoria
from tests.recorded_fleet import RecordedFleet
from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.influx import InfluxStore
from thermogate.core.clock import NS, SystemClock
from thermogate.core.decision import State

pytestmark = pytest.mark.integration

_DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
_HISTORY_S = 120
_ORIGINS = (".*", "^$", ".+")


def boards(source: str) -> dict[str, dict]:
    return {file.stem: json.loads(file.read_text()) for file in sorted((_DASHBOARDS / source).glob("*.json"))}


def queries(board: dict, key: str) -> list[tuple[str, str]]:
    """(title, query) of every target, and of every variable that is filled by one."""
    found = [(panel["title"], target[key]) for panel in board["panels"] for target in panel["targets"]]
    asked = [one for one in board["templating"]["list"] if one["type"] == "query"]
    return found + [(f"variable {one['name']}", one["definition"]) for one in asked]


def substituted(query: str, **given: str) -> str:
    """As Grafana does: the longest names first, ${name:raw} as $name."""
    for name in sorted(given, key=len, reverse=True):
        query = re.sub(rf"\$(?:{name}\b|{{{name}(?::\w+)?}})", lambda _, name=name: given[name], query)
    assert "$" not in re.sub(r"\^\(?[\w|.*-]*\)?\$|\^\$", "", query), query
    return query


async def influx_rows(client: aiohttp.ClientSession, query: str) -> int:
    """How many values that are not null the answer has."""
    params = {"db": "thermogate", "q": query, "epoch": "ms"}
    async with client.post("/query", data=params) as answer:
        (result,) = (await answer.json())["results"]
    assert "error" not in result, (query, result)
    rows = [row for series in result.get("series", ()) for row in series["values"]]
    return sum(any(value is not None for value in row[1:]) for row in rows)


async def filled(url: str) -> None:
    fleet = RecordedFleet(NODES, replayed=["sim-1"])
    async with InfluxStore(InfluxSettings(url=url), SystemClock()) as store:
        now_ns = time.time_ns()
        stamps = [now_ns - age * NS for age in range(_HISTORY_S, -1, -1)]
        payloads = [payload for stamp in stamps for payload in fleet.telemetry(stamp)]
        payloads += [payload for stamp in stamps[::10] for payload in fleet.signals(stamp)]
        gate = decision("n1", State.HOLD, "too hot", now_ns=now_ns, id_="1")
        await store.write(
            Batch(
                telemetry=tuple(payloads),
                events=(fleet.event(now_ns - NS),),
                statuses=tuple(fleet.statuses(now_ns)),
                decisions=(gate,),
            )
        )


async def test_every_query_for_influxdb_has_an_answer(tmp_path: Path) -> None:
    with servers.influxdb(tmp_path) as url:
        await filled(url)
        async with aiohttp.ClientSession(url) as client:
            now_ms = time.time_ns() // 1_000_000
            given = {
                "timeFilter": f"time >= {now_ms - 3_600_000}ms and time <= {now_ms}ms",
                "__interval": "10s",
                "node": "n1",
                "device": "0",
            }
            empty = [
                (name, title, origin)
                for name, board in boards("influxdb").items()
                for title, query in queries(board, "query")
                for origin in _ORIGINS
                if not await influx_rows(client, substituted(query, origin=origin, **given))
            ]
            assert empty == []
            everything, measured, replayed = [
                await influx_value(client, substituted(_power(), origin=origin, **given))
                for origin in _ORIGINS
            ]
            assert everything == pytest.approx(measured + replayed)
            assert 0 < replayed < measured


def _power() -> str:
    fleet = boards("influxdb")["fleet"]
    (query,) = [q for title, q in queries(fleet, "query") if title == "Power of GPUs" and "last" in q]
    return query


async def influx_value(client: aiohttp.ClientSession, query: str) -> float:
    async with client.post("/query", data={"db": "thermogate", "q": query}) as answer:
        return float((await answer.json())["results"][0]["series"][0]["values"][0][1])


@pytest.mark.parametrize("server", [servers.prometheus, victoria])
async def test_every_query_for_prometheus_has_an_answer(
    tmp_path: Path, server: Callable[[Path, str], AbstractContextManager[str]]
) -> None:
    async with scraped(tmp_path, server) as (asking, _):
        # rates need two scrapes, and have them in the range that they look at
        await asking.until("count_over_time(process_cpu_seconds_total[1m])", _more_than_one)
        given = {"__rate_interval": "1m", "__range": "1m", "node": "n1", "device": "0"}
        empty = [
            (name, title, origin)
            for name, board in boards("prometheus").items()
            for title, query in queries(board, "expr")
            for origin in _ORIGINS
            if not await _answered(asking, substituted(query, origin=origin, **given))
        ]
        assert empty == []


def _more_than_one(found: dict[object, float]) -> bool:
    return bool(found) and min(found.values()) > 1


async def _answered(asking: Asking, query: str) -> bool:
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    return bool(await asking.values(match[1], match[2]) if match else await asking.series(query))
