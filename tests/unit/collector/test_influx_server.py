"""Which InfluxDB answers, and what its refusals mean."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.contract.making import sample, write
from tests.unit.collector.recorder import Recorder
from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import ThrottledError
from thermogate.collector.store.influx import InfluxStore
from thermogate.collector.store.influx_errors import retry_after_s, write_refusal
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.core.clock import SystemClock
from thermogate.core.errors import ConfigError, RejectedError, StoreError


@pytest.fixture
def token(tmp_path: Path) -> str:
    (tmp_path / "token").write_text("secret\n")
    return str(tmp_path / "token")


@pytest.mark.parametrize(
    ("version", "build", "generation", "name"),
    [
        ("1.6.7~rc0", "OSS", "1", "InfluxDB 1.6.7~rc0"),
        ("1.11.8-c1.11.8", "ENT", "1", "InfluxDB ENT 1.11.8-c1.11.8"),
        ("v2.7.12", "OSS", "2", "InfluxDB 2.7.12"),
        ("2.3.0+SNAPSHOT.090f681737", "OSS", "2", "InfluxDB 2.3.0+SNAPSHOT.090f681737"),
        ("3.4.1", "Core", "3", "InfluxDB Core 3.4.1"),
        ("3.10.0", "Enterprise", "3", "InfluxDB Enterprise 3.10.0"),
    ],
)
async def test_generation_and_name_are_what_the_server_says(
    server: Recorder, token: str, version: str, build: str, generation: str, name: str
) -> None:
    server.ping = {"X-Influxdb-Version": version, "X-Influxdb-Build": build}
    async with InfluxHttp(InfluxSettings(url=server.url, org="o", token_file=token)) as http:
        found = await http.detect()
    assert (found.generation, found.name) == (generation, name)


async def test_setting_overrides_what_the_server_says(server: Recorder) -> None:
    async with InfluxHttp(InfluxSettings(url=server.url, api="1")) as http:
        assert (await http.detect()).generation == "1"


async def test_server_that_does_not_say_which_it_is_is_no_guess(server: Recorder, token: str) -> None:
    server.ping = {}
    async with InfluxHttp(InfluxSettings(url=server.url, org="o", token_file=token)) as http:
        with pytest.raises(StoreError, match=r"does not say which InfluxDB it is; collector\.influx\.api"):
            await http.detect()
    async with InfluxHttp(InfluxSettings(url=server.url, api="2", org="o", token_file=token)) as http:
        assert (await http.detect()).name == "InfluxDB 2.x"


@pytest.mark.parametrize(
    ("ping", "metrics"),
    [({"X-Server-Hostname": "vm"}, ""), ({}, 'vm_app_version{version="victoria-metrics-v1.102"} 1')],
)
async def test_victoriametrics_is_refused_with_the_setting_for_it(
    server: Recorder, ping: dict[str, str], metrics: str
) -> None:
    server.ping, server.metrics = ping, metrics
    store = InfluxStore(InfluxSettings(url=server.url), SystemClock())
    with pytest.raises(ConfigError, match=r'is VictoriaMetrics: set collector\.store = "victoria"'):
        async with store:
            pass


async def test_questdb_is_refused(server: Recorder) -> None:
    server.ping = {"X-Influxdb-Version": "v2.7.4", "Server": "questDB/1.0"}
    async with InfluxHttp(InfluxSettings(url=server.url)) as http:
        with pytest.raises(ConfigError, match="QuestDB"):
            await http.detect()


async def test_settings_that_do_not_fit_the_generation_are_named(server: Recorder) -> None:
    async with InfluxHttp(InfluxSettings(url=server.url)) as http:
        with pytest.raises(ConfigError, match=r"2\.x needs token_file and org"):
            await http.detect()
    server.ping = {"X-Influxdb-Version": "3.4.1"}
    async with InfluxHttp(InfluxSettings(url=server.url, database="a b")) as http:
        with pytest.raises(ConfigError, match=r"collector\.influx\.database: 'a b' is no name"):
            await http.detect()


async def test_v3_that_lets_nobody_ping_says_which_credential(server: Recorder, token: str) -> None:
    server.ping, server.ping_status = {}, 401
    async with InfluxHttp(InfluxSettings(url=server.url, token_file=token)) as http:
        with pytest.raises(StoreError, match=r"401 to /ping.*collector\.influx\.token_file"):
            await http.detect()


def refused(status: int, body: str, settings: InfluxSettings | None = None, **headers: str) -> StoreError:
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return write_refusal(settings or InfluxSettings(url="http://db"), status, given, body.encode(), now)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (InfluxSettings(token_file="/etc/token"), "the token in collector.influx.token_file /etc/token"),
        (
            InfluxSettings(username="tg", password_file="/etc/pw"),
            "user 'tg' with collector.influx.password_file /etc/pw",
        ),
        (InfluxSettings(), "it wants collector.influx.token_file"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_refused_credential_is_named(settings: InfluxSettings, said: str, status: int) -> None:
    err = refused(status, '{"code":"unauthorized","message":"unauthorized access"}', settings)
    assert said in str(err)
    assert not isinstance(err, RejectedError)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, '{"error":"database not found: \\"tel\\""}'),
        (404, '{"code":"not found","message":"bucket \\"tel\\" not found"}'),
        (400, '{"error":"database tel has been deleted, or was not found"}'),
        (500, '{"error":"retention policy not found: 1m"}'),
    ],
)
def test_missing_place_is_tried_again_and_says_the_command(status: int, body: str) -> None:
    err = refused(status, body)
    assert not isinstance(err, RejectedError)
    assert "(run: thermogate collector setup)" in str(err)


def test_partial_write_of_v3_at_the_compatible_endpoint_is_final_though_a_500() -> None:
    text = '{"code":"internal error","message":"partial write of line protocol occurred"}'
    err = refused(500, text)
    assert isinstance(err, RejectedError)
    assert err.stored


def test_what_v3_could_not_parse_is_told() -> None:
    body = '{"error":"parsing failed for write_lp endpoint","data":{"line_number":1,"error_message":"bad"}}'
    err = refused(400, body)
    assert isinstance(err, RejectedError)
    assert not err.stored
    assert str(err).endswith("parsing failed for write_lp endpoint: line 1: bad")


def test_retry_after_is_seconds_or_a_date() -> None:
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    assert retry_after_s("30", now) == 30
    assert retry_after_s("Sat, 21 Nov 2026 12:01:30 GMT", now) == 90
    assert retry_after_s("Sat, 21 Nov 2026 11:00:00 GMT", now) == 0
    assert retry_after_s("soon", now) is None
    assert retry_after_s("", now) is None
    err = refused(429, "{}", Retry_After="Sat, 21 Nov 2026 12:00:05 GMT")
    assert isinstance(err, ThrottledError)
    assert err.retry_after_s == 5


async def test_rejected_message_does_not_make_the_server_be_asked_who_it_is_again(
    server: Recorder, token: str
) -> None:
    server.status, server.text = 400, '{"error":"unable to parse"}'
    settings = InfluxSettings(url=server.url, org="o", token_file=token)
    async with InfluxStore(settings, SystemClock()) as store:
        for _ in range(3):
            with pytest.raises(RejectedError):
                await write(store, sample())
    assert len(server.asked("/ping")) == 1
