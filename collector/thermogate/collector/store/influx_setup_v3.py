"""What `thermogate collector setup` makes in InfluxDB 3: a database for each resolution."""

from collections.abc import AsyncIterator
from functools import partial

from thermogate.collector.store.influx_errors import SETUP, error_text, refusal
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import place
from thermogate.collector.store.influx_setup_keep import HOUR_S, keep, seconds
from thermogate.collector.store.setting_up import Step, Wish
from thermogate.core.errors import StoreError

_PATH = "/api/v3/configure/database"
_NAME = "iox::database"


async def setup_v3(http: InfluxHttp, ages_s: dict[str, int], wish: Wish) -> AsyncIterator[Step]:
    """Databases with their retention; a server that cannot change one later is left as it is."""
    there = await databases(http)
    for resolution, age_s in ages_s.items():
        name = place(http.settings, "3", resolution)
        what = f"database {name}"
        body = {"db": name, "retention_period": f"{age_s // HOUR_S}h"}
        try:
            yield await keep(
                what,
                age_s,
                await _age_s(http, name) if name in there else None,
                partial(_call, http, "POST", body),
                partial(_call, http, "PUT", body),
                wish,
            )
        except _CannotError as err:
            yield Step("left", f"{what}: this server cannot change its retention ({err})")


async def require_database(http: InfluxHttp) -> None:
    """Raises StoreError when it is not there: a write would make it, without any retention."""
    name = http.settings.database
    answer = await http.get(f"{_PATH}?format=json")
    if answer.status == 403:
        return  # a token of Enterprise that may write, and not see what there is
    if answer.status >= 300:
        raise refusal(http.settings, answer.status, error_text(answer.text.encode()))
    if f'"{name}"' not in answer.text:
        raise StoreError(f"{http.settings.url}: database {name} does not exist (run: {SETUP})")


async def databases(http: InfluxHttp) -> set[str]:
    """Names of all there are."""
    _, said = await http.json("GET", _PATH, {"format": "json"})
    return {str(one[_NAME]) for one in said or []}


async def _age_s(http: InfluxHttp, name: str) -> int:
    body = {"db": name, "q": "SHOW RETENTION POLICIES", "format": "json"}
    _, said = await http.json("POST", "/api/v3/query_influxql", body=body)
    return next((seconds(one.get("duration") or "") for one in said or [] if one.get(_NAME, name) == name), 0)


class _CannotError(StoreError):
    """The server has no such call, as 3.x before it could change a retention."""


async def _call(http: InfluxHttp, method: str, body: dict[str, str]) -> None:
    status, _ = await http.json(method, _PATH, body=body)
    if status in (404, 405) or (status == 409 and method == "PUT"):
        raise _CannotError(f"{method} {_PATH}: {status}")
