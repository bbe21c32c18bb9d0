"""What `thermogate collector setup` asks of InfluxDB 2.x and 3.x. Of 1.x: tests/integration."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.collector.recorder import Recorder
from thermogate.collector.config import InfluxSettings, RetentionSettings
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_setup import setup
from thermogate.collector.store.influx_setup_keep import seconds, told
from thermogate.collector.store.setting_up import Wish
from thermogate.core.errors import ConfigError

_DAY_S = 86_400
_BUCKETS, _DBRPS, _DATABASES = "/api/v2/buckets", "/api/v2/dbrps", "/api/v3/configure/database"


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    recorder.answers["GET", "/api/v2/orgs"] = (200, {"orgs": [{"id": "0a", "name": "o"}]})
    async with recorder.server:
        yield recorder


@pytest.fixture
def settings(server: Recorder, tmp_path: Path) -> InfluxSettings:
    (tmp_path / "token").write_text("secret\n")
    return InfluxSettings(url=server.url, org="o", token_file=str(tmp_path / "token"), database="tel")


async def set_up(settings: InfluxSettings, **wish: bool) -> list[tuple[str, str]]:
    retention = RetentionSettings(raw_days=30, minute_days=180, hour_days=730)
    async with InfluxHttp(settings) as http:
        return [(step.did, step.what) async for step in setup(http, retention, Wish(**wish))]


def bucket(age_s: int, name: str = "tel") -> dict[str, object]:
    return {"id": "b1", "name": name, "retentionRules": [{"type": "expire", "everySeconds": age_s}]}


async def test_v2_buckets_and_mappings_are_made(server: Recorder, settings: InfluxSettings) -> None:
    gone = (404, {"code": "not found", "message": "bucket not found"})
    made = [(200, {"buckets": [bucket(0, name)]}) for name in ("tel", "tel/1m", "tel/1h")]
    server.answers["GET", _BUCKETS] = [gone, made[0], gone, made[1], gone, made[2]]
    server.answers["GET", _DBRPS] = (200, {"content": [{"bucketID": "b1", "virtual": True}]})
    server.answers["POST", _BUCKETS] = server.answers["POST", _DBRPS] = (201, {})
    assert await set_up(settings) == [
        ("made", "bucket tel, kept 30 days"),
        ("made", "mapping tel/autogen"),
        ("made", "bucket tel/1m, kept 180 days"),
        ("made", "mapping tel/1m"),
        ("made", "bucket tel/1h, kept 730 days"),
        ("made", "mapping tel/1h"),
    ]
    (_, path, first), (_, mapped, mapping), *_ = server.changed()
    rules = [{"type": "expire", "everySeconds": 30 * _DAY_S}]
    assert (path, first) == (_BUCKETS, {"orgID": "0a", "name": "tel", "retentionRules": rules})
    assert (mapped, mapping) == (
        _DBRPS,
        {
            "orgID": "0a",
            "bucketID": "b1",
            "database": "tel",
            "retention_policy": "autogen",
            "default": True,
        },
    )
    assert [sent["default"] for _, path, sent in server.changed() if path == _DBRPS] == [True, False, False]


async def test_v2_mapping_that_is_there_is_left_and_one_of_another_bucket_is_told(
    server: Recorder, settings: InfluxSettings
) -> None:
    server.answers["GET", _BUCKETS] = (200, {"buckets": [bucket(30 * _DAY_S)]})
    server.answers["GET", _DBRPS] = (200, {"content": [{"bucketID": "b1"}]})
    assert (await set_up(settings, dry_run=True))[1] == ("there", "mapping tel/autogen")
    server.answers["GET", _DBRPS] = (200, {"content": [{"bucketID": "b2"}]})
    did, what = (await set_up(settings, dry_run=True))[1]
    assert did == "left"
    assert "of another bucket, b2" in what
    assert server.changed() == []


@pytest.mark.parametrize(
    ("age_s", "shrink", "did"),
    [
        (30 * _DAY_S, False, "there"),
        (7 * _DAY_S, False, "changed"),
        (90 * _DAY_S, False, "left"),
        (0, False, "left"),
        (90 * _DAY_S, True, "changed"),
    ],
)
async def test_v2_retention_that_differs_is_changed_and_shortened_only_on_request(
    server: Recorder, settings: InfluxSettings, age_s: int, shrink: bool, did: str
) -> None:
    others = [bucket(180 * _DAY_S, "tel/1m"), bucket(730 * _DAY_S, "tel/1h")]
    server.answers["GET", _BUCKETS] = (200, {"buckets": [bucket(age_s), *others]})
    server.answers["GET", _DBRPS] = (200, {"content": [{"bucketID": "b1"}]})
    server.answers["PATCH", f"{_BUCKETS}/b1"] = (200, {})
    assert (await set_up(settings, shrink=shrink))[0][0] == did
    patched = [sent for method, _, sent in server.changed() if method == "PATCH"]
    expected = {"retentionRules": [{"type": "expire", "everySeconds": 30 * _DAY_S}]}
    assert patched == ([expected] if did == "changed" else [])


async def test_v2_organisation_that_is_not_there_is_a_setting_to_mend(
    server: Recorder, settings: InfluxSettings
) -> None:
    server.answers["GET", "/api/v2/orgs"] = (404, {"message": 'organization name "o" not found'})
    with pytest.raises(ConfigError, match=r"collector\.influx\.org: .* knows no organisation 'o'"):
        await set_up(settings)


async def test_v3_databases_are_made_with_their_retention(server: Recorder, settings: InfluxSettings) -> None:
    server.ping = {"X-Influxdb-Version": "3.4.1"}
    server.answers["GET", _DATABASES] = (200, [{"iox::database": "tel"}])
    retention = [{"iox::database": "tel", "name": "autogen", "duration": "720h0m0s"}]
    server.answers["POST", "/api/v3/query_influxql"] = (200, retention)
    server.answers["POST", _DATABASES] = (200, None)
    assert await set_up(settings) == [
        ("there", "database tel, kept 30 days"),
        ("made", "database tel_1m, kept 180 days"),
        ("made", "database tel_1h, kept 730 days"),
    ]
    assert [sent for _, _, sent in server.changed()] == [
        {"db": "tel_1m", "retention_period": "4320h"},
        {"db": "tel_1h", "retention_period": "17520h"},
    ]


async def test_v3_that_cannot_change_a_retention_is_left_as_it_is(
    server: Recorder, settings: InfluxSettings
) -> None:
    server.ping = {"X-Influxdb-Version": "3.0.1"}
    server.answers["GET", _DATABASES] = (200, [{"iox::database": f"tel{end}"} for end in ("", "_1m", "_1h")])
    server.answers["POST", "/api/v3/query_influxql"] = (200, [{"name": "autogen", "duration": "24h0m0s"}])
    server.answers["PUT", _DATABASES] = (404, None)
    steps = await set_up(settings)
    assert [did for did, _ in steps] == ["left"] * 3
    assert "this server cannot change its retention" in steps[0][1]


async def test_dry_run_changes_nothing(server: Recorder, settings: InfluxSettings) -> None:
    server.answers["GET", _BUCKETS] = (404, None)
    server.answers["GET", _DBRPS] = (200, {"content": []})
    assert {did for did, _ in await set_up(settings, dry_run=True)} == {"made"}
    assert server.changed() == []


def test_durations_are_read_and_told() -> None:
    assert [seconds(text) for text in ("720h0m0s", "1h30m0s", "0s", "")] == [2_592_000, 5400, 0, 0]
    assert [told(age_s) for age_s in (0, 3600, 36 * 3600, _DAY_S, 30 * _DAY_S)] == [
        "for ever",
        "1 hour",
        "36 hours",
        "1 day",
        "30 days",
    ]
