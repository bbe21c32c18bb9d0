"""HTTP to VictoriaMetrics: line protocol in, MetricsQL and exports out, and what each status code means.

Every question goes with `nocache=1`: without it the server moves the ends of a range to multiples of the
step, leaves out what is younger than its -search.latencyOffset and may answer from before a backlog came.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from thermogate.collector.config import VictoriaSettings
from thermogate.collector.store.base import ThrottledError
from thermogate.collector.store.reaching import StoreHttp, lines
from thermogate.core.errors import RejectedError, StoreError

_TEXT_LIMIT = 300

Labels = dict[str, str]


class Row(msgspec.Struct):
    """One series of an answer: `value` of an instant, `values` of a range, each (UTC seconds, number)."""

    metric: Labels = {}
    value: tuple[float, str] = (0.0, "")
    values: list[tuple[float, str]] = []


class Exported(msgspec.Struct):
    """Stored samples of one series; `timestamps` in UTC milliseconds, oldest first."""

    metric: Labels
    values: list[float | None]
    timestamps: list[int]


class _Rows(msgspec.Struct):
    result: list[Row] = []


class _Answer(msgspec.Struct):
    data: _Rows


class _Listed(msgspec.Struct):
    data: list[Any] = []


_EXPORTED = msgspec.json.Decoder(Exported)


class VictoriaHttp(StoreHttp):
    """`async with VictoriaHttp(settings)`. Calls raise StoreError with the cause."""

    def __init__(self, settings: VictoriaSettings) -> None:
        # gzip would cost both sides more than it saves on the network of a cluster
        super().__init__("collector.victoria", settings, "Bearer", {"Accept-Encoding": "identity"})
        self._settings = settings

    async def write(self, body: bytes) -> None:
        """Hand over lines with stamps in nanoseconds.

        The server says nothing of lines that it drops, and has nothing on disk yet. Raises RejectedError
        when it will never take the bytes.
        """
        params = {"db": self._settings.database, "precision": "ns"}
        # by itself it would be a form, which the server would log as a whole with every error
        headers = {"Content-Type": "text/plain"}
        async with self._request("POST", "/write", params=params, data=body, headers=headers):
            pass

    async def metrics(self) -> str:
        """What the server says of itself, in Prometheus' text form."""
        async with self._request("GET", "/metrics") as response:
            return await response.text(errors="replace")

    async def instant(self, expression: str, at_ms: int) -> list[Row]:
        """The value of every series of an expression at one time."""
        form = {"query": expression, "time": _seconds(at_ms), "nocache": "1"}
        answer: _Answer = await self._json("/api/v1/query", form, _Answer)
        return answer.data.result

    async def ranged(self, expression: str, first_ms: int, last_ms: int, step_ms: int) -> list[Row]:
        """The values of every series at `first_ms` and every `step_ms` after it until `last_ms`."""
        times = {"start": _seconds(first_ms), "end": _seconds(last_ms), "step": f"{step_ms}ms"}
        form = {"query": expression, **times, "nocache": "1"}
        answer: _Answer = await self._json("/api/v1/query_range", form, _Answer)
        return answer.data.result

    async def label_values(self, label: str, selector: str, first_ms: int, last_ms: int) -> list[str]:
        """The values of a label, in order, of series that have samples on the days of the range."""
        form = _matching(selector, first_ms, last_ms)
        values: list[str] = (await self._json(f"/api/v1/label/{label}/values", form, _Listed)).data
        return values

    async def series(self, selector: str, first_ms: int, last_ms: int) -> list[Labels]:
        """The labels of every series that has samples on the days of the range."""
        form = _matching(selector, first_ms, last_ms)
        series: list[Labels] = (await self._json("/api/v1/series", form, _Listed)).data
        return series

    async def export(self, selector: str, first_ms: int, last_ms: int) -> AsyncGenerator[Exported, None]:
        """The samples of every series from `first_ms` to `last_ms`, both inclusive; duplicates are gone."""
        form = _matching(selector, first_ms, last_ms)
        async with self._request("POST", "/api/v1/export", data=form) as response:
            async for line in lines(response.content):
                if line:
                    try:
                        yield _EXPORTED.decode(line)
                    except msgspec.MsgspecError as err:
                        raise StoreError(f"{self._url}: not an export of VictoriaMetrics: {err}") from err

    async def _json(self, path: str, form: Mapping[str, str], of: type[Any]) -> Any:
        async with self._request("POST", path, data=form) as response:
            body = await response.read()
        try:
            return msgspec.json.decode(body, type=of)
        except msgspec.MsgspecError as err:
            raise StoreError(f"{self._url}: not an answer of VictoriaMetrics: {err}") from err

    @asynccontextmanager
    async def _request(self, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response of a request that succeeded."""
        async with self._asked(method, path, **more) as response:
            if response.status >= 300:
                raise await self._error(response)
            yield response

    async def _error(self, response: aiohttp.ClientResponse) -> StoreError:
        """Only "too large", said by a proxy, is final: the server says 400 of whatever goes wrong in it."""
        text = (await response.text(errors="replace")).strip()  # the cause stands behind the question
        said = f"{self._url}: {response.status} {text[-_TEXT_LIMIT:]}"
        if response.status == 413:
            return RejectedError(said, stored=False)
        wait = response.headers.get("Retry-After", "")
        return ThrottledError(said, retry_after_s=float(wait)) if wait.isdigit() else StoreError(said)


def _seconds(time_ms: int) -> str:
    return f"{time_ms // 1000}.{time_ms % 1000:03d}"


def _matching(selector: str, first_ms: int, last_ms: int) -> dict[str, str]:
    return {"match[]": selector, "start": _seconds(first_ms), "end": _seconds(last_ms)}
