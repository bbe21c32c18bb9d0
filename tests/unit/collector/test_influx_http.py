"""The HTTP that is spoken to InfluxDB, against a small server that records it.

No InfluxDB 2.x can be installed where these tests run: for 2.x this shows what is sent, as its
documentation asks for it, not that a 2.x server takes it.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.contract.making import NOW_NS, event, message, sample, write
from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import Batch, ThrottledError
from thermogate.collector.store.influx import InfluxStore
from thermogate.core.clock import SystemClock
from thermogate.core.errors import ConfigError, RejectedError, StoreError


class Recorder:
    """Answers writes with `status`, `headers` and `text`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.headers, self.text = 204, {}, ""
        self.answer = '{"results":[{"statement_id":0}]}'
        self.requests: list[tuple[str, dict[str, str], str, bytes]] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url(""))

    def asked(self, path: str) -> list[tuple[dict[str, str], str, bytes]]:
        return [rest for its_path, *rest in self.requests if its_path == path]  # type: ignore[misc]

    async def _handle(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization", "")
        self.requests.append((request.path, dict(request.query), authorization, await request.read()))
        if request.path == "/ping":
            return web.Response(status=204, headers={"X-Influxdb-Version": "v2.7.1"})
        if request.path == "/query":
            return web.Response(text=self.answer)
        return web.Response(status=self.status, headers=self.headers, text=self.text)


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with recorder.server:
        yield recorder


@pytest.fixture
def v2(server: Recorder, tmp_path: Path) -> InfluxStore:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    settings = InfluxSettings(url=server.url, database="bucket", org="our org", token_file=str(token))
    return InfluxStore(settings, SystemClock())


async def test_v2_write_goes_to_the_bucket_of_the_organisation_with_the_token(
    server: Recorder, v2: InfluxStore
) -> None:
    telemetry = message(sample())
    async with v2:
        await v2.write(Batch(telemetry=(telemetry, telemetry), events=(event(text='a "b"'),)))
    [(params, authorization, body)] = server.asked("/api/v2/write")
    assert params == {"org": "our org", "bucket": "bucket", "precision": "ns"}
    assert authorization == "Token secret-token"
    assert body.startswith(telemetry + telemetry + b"event,node=n1,device_kind=gpu,device=0,event=")
    assert body.endswith(b'\\"}" ' + str(NOW_NS).encode() + b"\n")


async def test_v2_bucket_is_never_made_and_queries_are_influxql_with_the_token(
    server: Recorder, v2: InfluxStore
) -> None:
    async with v2:
        assert v2.description == f"InfluxDB v2.7.1 at {server.url}, bucket"
        assert server.asked("/query") == []
        await v2.statuses()
    [(_, authorization, form)] = server.asked("/query")
    assert authorization == "Token secret-token"
    assert b"db=bucket" in form


async def test_v1_write_names_the_database_and_the_user(server: Recorder, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    settings = InfluxSettings(
        url=server.url, username="collector", password_file=str(tmp_path / "password"), database="tel"
    )
    async with InfluxStore(settings, SystemClock()) as store:
        await write(store, sample())
    [(params, authorization, body)] = server.asked("/write")
    assert params == {"db": "tel", "precision": "ns"}
    assert authorization == "Basic Y29sbGVjdG9yOnNlY3JldA=="
    assert body == message(sample())


@pytest.mark.parametrize(
    ("status", "text", "stored"),
    [
        (400, '{"error":"partial write: field type conflict dropped=1"}', True),
        (400, '{"error":"unable to parse"}', False),
        (422, '{"code":"unprocessable entity","message":"partial write: beyond retention dropped=4"}', True),
        (413, "<html>request entity too large</html>", False),
    ],
)
async def test_refusal_of_the_bytes_is_final(
    server: Recorder, v2: InfluxStore, status: int, text: str, stored: bool
) -> None:
    server.status, server.text = status, text
    async with v2:
        with pytest.raises(RejectedError) as caught:
            await write(v2, sample())
    assert caught.value.stored is stored
    assert str(status) in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
async def test_any_other_refusal_is_tried_again_and_says_why(
    server: Recorder, v2: InfluxStore, status: int
) -> None:
    server.status, server.text = status, '{"message":"the cause"}'
    async with v2:
        with pytest.raises(StoreError, match=f"{status} the cause") as caught:
            await write(v2, sample())
    assert not isinstance(caught.value, RejectedError)


async def test_server_that_asks_to_be_left_alone_is(server: Recorder, v2: InfluxStore) -> None:
    server.status, server.headers = 503, {"Retry-After": "7"}
    async with v2:
        with pytest.raises(ThrottledError) as caught:
            await write(v2, sample())
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    "answer", ["<html>", '{"error":"no such database"}', '{"results":[{"error":"x"}]}', "[]"]
)
async def test_answer_that_is_none_is_an_error_of_the_store(
    server: Recorder, v2: InfluxStore, answer: str
) -> None:
    server.answer = answer
    async with v2:
        with pytest.raises(StoreError):
            await v2.latest()


async def test_secret_that_cannot_be_read_names_its_setting() -> None:
    store = InfluxStore(InfluxSettings(token_file="/nowhere/token"), SystemClock())
    with pytest.raises(ConfigError, match=r"influx\.token_file /nowhere/token: "):
        async with store:
            pass
