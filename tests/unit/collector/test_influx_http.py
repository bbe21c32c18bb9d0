"""The HTTP that is spoken to InfluxDB, against a small server that records it.

For 2.x and 3.x see `recorder`: what is sent is shown, not that a server takes it.
"""

import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.contract.making import GPU0, NOW_NS, event, message, sample, write
from tests.unit.collector.recorder import Recorder
from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import Batch, ThrottledError
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.resolution import Window
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import ConfigError, RejectedError, StoreError
from thermogate.core.query import DeviceTime


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
        assert v2.description == f"InfluxDB 2.7.1 at {server.url}, bucket"
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
    server.ping = {"X-Influxdb-Version": "1.8.10"}
    rows = [["tel", "720h0m0s", True], ["1m", "1h0m0s", False], ["1h", "1h0m0s", False]]
    columns = ["name", "duration", "default"]
    server.answer = json.dumps({"results": [{"series": [{"columns": columns, "values": rows}]}]})
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


@pytest.mark.parametrize("status", [429, 503])
async def test_server_that_asks_to_be_left_alone_is(server: Recorder, v2: InfluxStore, status: int) -> None:
    server.status, server.headers = status, {"Retry-After": "7"}
    async with v2:
        with pytest.raises(ThrottledError) as caught:
            await write(v2, sample())
    assert caught.value.retry_after_s == 7


async def test_v3_write_goes_to_its_own_endpoint_and_its_bad_lines_are_told(
    server: Recorder, tmp_path: Path
) -> None:
    server.ping = {"X-Influxdb-Version": "3.4.1", "X-Influxdb-Build": "Core"}
    server.answers["GET", "/api/v3/configure/database"] = (200, [{"iox::database": "tel"}])
    (tmp_path / "token").write_text("apiv3_secret\n")
    settings = InfluxSettings(url=server.url, database="tel", token_file=str(tmp_path / "token"))
    async with InfluxStore(settings, SystemClock()) as store:
        assert store.description == f"InfluxDB Core 3.4.1 at {server.url}, tel"
        await write(store, sample())
        [(params, authorization, body)] = server.asked("/api/v3/write_lp")
        assert params == {"db": "tel", "precision": "nanosecond"}
        assert authorization == "Token apiv3_secret"
        assert body == message(sample())
        lines = [{"original_line": "gpu", "line_number": n, "error_message": "no"} for n in (2, 3, 5, 8)]
        server.status = 400
        server.text = json.dumps({"error": "partial write of line protocol occurred", "data": lines})
        with pytest.raises(
            RejectedError, match="occurred: line 2: no; line 3: no; line 5: no and 1 more"
        ) as caught:
            await write(store, sample())
        assert caught.value.stored


async def test_v3_database_that_is_not_there_is_not_made_by_a_write(server: Recorder) -> None:
    server.ping = {"X-Influxdb-Version": "3.4.1", "X-Influxdb-Build": "Core"}
    server.answers["GET", "/api/v3/configure/database"] = (200, [{"iox::database": "tel_1m"}])
    async with InfluxStore(InfluxSettings(url=server.url, database="tel"), SystemClock()) as store:
        with pytest.raises(
            StoreError, match=r"database tel does not exist \(run: thermogate collector setup\)"
        ):
            await write(store, sample())
    assert server.asked("/api/v3/write_lp") == []


async def test_v3_is_asked_one_statement_a_request_and_each_in_its_database(server: Recorder) -> None:
    server.ping = {"X-Influxdb-Version": "3.4.1", "X-Influxdb-Build": "Core"}
    server.answers["GET", "/api/v3/configure/database"] = (200, [{"iox::database": "tel"}])
    async with InfluxStore(InfluxSettings(url=server.url, database="tel"), SystemClock()) as store:
        time = DeviceTime(GPU0, NOW_NS - 60 * NS, NOW_NS)
        assert await store.usage([time]) == [None]
        await store.roll_up("1h", [Window(0, 3600 * NS)])
        forms = [parse_qs(form.decode()) for _, _, form in server.asked("/query")]
    assert all(";" not in form["q"][0] for form in forms)
    assert {(form["db"][0], '"gpu_1m"' in form["q"][0]) for form in forms} >= {
        ("tel", False),
        ("tel_1m", True),
    }


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
