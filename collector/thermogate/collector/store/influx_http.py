"""HTTP to InfluxDB: bytes in, InfluxQL answers out.

aiohttp alone, not influxdb-client: payloads are line protocol already and go out as they are (0.2 us of
processor time a line; the client takes 19 us for a Point and 20 us a line for its gzip), queries are
InfluxQL, which its 2.x API has no call for, and it cannot write to 1.6 at all. Nothing is compressed:
the database takes 33,000 plain lines a second, 29,000 compressed, and 1000 nodes are 2 MB/s.
"""

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.influx_answers import Answers, Result, Series
from thermogate.collector.store.influx_errors import SETUP, error_text, missing, refusal, write_refusal
from thermogate.collector.store.influx_places import RAW, Statement, asked_database, write_target
from thermogate.collector.store.influx_server import Answer, Server, detect
from thermogate.collector.store.reaching import StoreHttp, lines
from thermogate.core.errors import StoreError

_PROBE_BYTES = 1 << 20
"""Read of an answer that is looked at and not decoded."""
_MSGPACK = "application/x-msgpack"
_AT_ONCE = 4
"""Questions that a server which takes one statement a request is asked side by side."""


class InfluxHttp(StoreHttp):
    """`async with InfluxHttp(settings)`. Calls raise StoreError with the cause.

    Writes and questions learn first who answers, if that is not known, and so may raise ConfigError.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        super().__init__("collector.influx", settings, "Token")  # 2.x and 3.x both know this word
        self.settings = settings
        self._server: Server | None = None

    @property
    def server(self) -> Server | None:
        """Who answers, if that is known."""
        return self._server

    async def detect(self) -> Server:
        """Learn who answers. Raises ConfigError when the settings are not fit for it."""
        self._server = await detect(self, self.settings)
        return self._server

    async def known(self) -> Server:
        """Who answers, asked once."""
        return self._server or await self.detect()

    async def get(self, path: str) -> Answer:
        """What the server says at `path`, whatever its status."""
        async with self._request("GET", path, {}) as response:
            body = await response.content.read(_PROBE_BYTES)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, body.decode(errors="replace"))

    async def json(
        self, method: str, path: str, params: Mapping[str, str] = {}, body: Any = None
    ) -> tuple[int, Any]:
        """Status and decoded body of a call to the server's management interface."""
        data = None if body is None else msgspec.json.encode(body)
        async with self._request(
            method, path, params, data, {"Content-Type": "application/json"}
        ) as response:
            said = await response.read()
            if response.status in (404, 405, 409):
                return response.status, None
            if response.status >= 300:
                raise refusal(self.settings, response.status, error_text(said))
            try:
                return response.status, msgspec.json.decode(said) if said else None
            except msgspec.MsgspecError as err:
                raise StoreError(f"{self._url}{path}: not an answer of InfluxDB: {err}") from err

    async def write(self, body: bytes, resolution: str = RAW) -> None:
        """Store lines with stamps in nanoseconds; a 204 is durable.

        Raises RejectedError when the server will never take them; on "partial write" it has stored
        the good ones.
        """
        path, params = write_target(self.settings, (await self.known()).generation, resolution)
        async with self._request("POST", path, params, io.BytesIO(body)) as response:  # a large one in pieces
            if response.status >= 300:
                raise write_refusal(self.settings, response.status, response.headers, await response.read())

    async def query(self, influxql: str, resolution: str = RAW, *, timeout_s: float = 0) -> list[Series]:
        """Every series that a statement answers with; `timeout_s` for one that is known to take long."""
        results = await self._whole(await self._form(influxql, resolution), timeout_s)
        return [series for result in results for series in result.series]

    async def statements(self, statements: Sequence[Statement]) -> list[list[Series]]:
        """The series of each of several statements, in their order; one may have none."""
        if not statements:
            return []
        if (await self.known()).generation == "3":  # takes one a request
            return await self._one_by_one(statements)
        form = await self._form(";".join(text for _, text in statements), RAW)
        return [result.series for result in await self._whole(form)]

    async def _one_by_one(self, statements: Sequence[Statement]) -> list[list[Series]]:
        busy = asyncio.Semaphore(_AT_ONCE)

        async def ask(resolution: str, influxql: str) -> list[Series]:
            async with busy:
                return await self.query(influxql, resolution)

        return await asyncio.gather(*(ask(*statement) for statement in statements))

    async def chunks(
        self, influxql: str, resolution: str = RAW, *, rows: int, timeout_s: float = 0
    ) -> AsyncGenerator[Series, None]:
        """The same in pieces of up to `rows` rows, as they come."""
        form = await self._form(influxql, resolution)
        form |= {"chunked": "true", "chunk_size": str(rows)}
        async with self._request("POST", "/query", {}, form, timeout_s=timeout_s) as response:
            await self._check(response)
            async for line in lines(response.content):
                if line.strip():
                    for series in self._decode(line):
                        yield series

    async def _whole(self, form: Mapping[str, str], timeout_s: float = 0) -> list[Result]:
        """In MessagePack where the server may know it: writing numbers as text is a third of its work."""
        binary = (await self.known()).generation != "3"
        headers = {"Accept": _MSGPACK} if binary else None
        async with self._request("POST", "/query", {}, form, headers, timeout_s=timeout_s) as response:
            await self._check(response)
            packed = response.content_type == _MSGPACK
            return self._results(await response.read(), packed=packed)

    async def _form(self, influxql: str, resolution: str) -> dict[str, str]:
        database = asked_database(self.settings, (await self.known()).generation, resolution)
        return {"db": database, "epoch": "ns", "q": influxql}

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status >= 300:
            said = await response.read()
            if response.content_type == _MSGPACK:
                with contextlib.suppress(msgspec.MsgspecError):
                    said = msgspec.json.encode(msgspec.msgpack.decode(said))
            raise refusal(self.settings, response.status, error_text(said))

    def _decode(self, line: bytes) -> list[Series]:
        return [series for result in self._results(line) for series in result.series]

    def _results(self, text: bytes, *, packed: bool = False) -> list[Result]:
        decode = msgspec.msgpack.decode if packed else msgspec.json.decode
        try:
            answer = decode(text, type=Answers)
        except msgspec.MsgspecError as err:
            raise StoreError(f"{self._url}: not an answer of InfluxDB: {err}") from err
        error = answer.error or next((result.error for result in answer.results if result.error), "")
        if error:
            raise StoreError(f"{self._url}: {error}" + (f" (run: {SETUP})" if missing(error) else ""))
        return answer.results

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str],
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 0,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(sock_connect=self.settings.timeout_s, sock_read=timeout_s or None)
        more: dict[str, Any] = {"timeout": timeout} if timeout_s else {}
        async with self._asked(method, path, params=params, data=data, headers=headers, **more) as response:
            yield response
