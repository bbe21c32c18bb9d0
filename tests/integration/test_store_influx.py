"""InfluxDB 1.x as it is: what it refuses, how it fails and what survives. See also tests/contract."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.contract.making import NOW_NS, event, message, sample, stored, write
from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.influx import InfluxStore
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import RejectedError, StoreError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.influxdb(tmp_path_factory.mktemp("influx")) as running:
        yield running


def influx(url: str, database: str, **more: float) -> InfluxStore:
    return InfluxStore(InfluxSettings(url=url, database=database, **more), SystemClock())  # type: ignore[arg-type]


async def test_version_of_the_server_is_told(url: str) -> None:
    async with influx(url, "version") as store:
        assert store.description.startswith("InfluxDB 1.")
        assert store.description.endswith(f" at {url}, version")


async def test_line_that_does_not_fit_its_field_is_refused_and_the_others_are_stored(url: str) -> None:
    async with influx(url, "conflict") as store:
        await write(store, sample(3, temp_c=60))
        bad = message(sample(2)).replace(b"temp_c=60.0", b"temp_c=60i")
        with pytest.raises(RejectedError, match="field type conflict") as caught:
            await store.write(Batch(telemetry=(message(sample(1)), bad, message(sample(0)))))
        assert caught.value.stored
        assert [(NOW_NS - point.time_ns) // NS for point in await stored(store)] == [3, 1, 0]


async def test_sample_past_the_retention_is_refused_and_the_others_are_stored(url: str) -> None:
    async with influx(url, "short", retention_days=1) as store:
        with pytest.raises(RejectedError, match="beyond retention policy") as caught:
            await write(store, sample(3 * 86_400), sample(0))
        assert caught.value.stored
        assert [point.time_ns for point in await stored(store)] == [NOW_NS]


async def test_database_that_was_dropped_is_made_again(url: str) -> None:
    async with influx(url, "dropped") as store, influx(url, "other") as other:
        await write(store, sample(1))
        await other._http.query('DROP DATABASE "dropped"')
        with pytest.raises(StoreError, match="database not found"):
            await write(store, sample(0))
        await write(store, sample(0))
        assert len(await stored(store)) == 1


async def test_what_was_written_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    port = servers.free_port()
    with servers.influxdb(tmp_path, port=port) as url:  # which kills it at the end
        store = influx(url, "killed")
        async with store:
            await write(store, *(sample(age) for age in range(100)))
            await store.write(Batch(events=(event(),)))
    with servers.influxdb(tmp_path, port=port):
        async with store:
            assert len(await stored(store)) == 100
            assert await store.events(start_ns=0, end_ns=2**62) == [event()]


async def test_server_that_is_down_is_waited_for(tmp_path: Path) -> None:
    port = servers.free_port()
    async with influx(f"http://127.0.0.1:{port}", "later") as store:
        with pytest.raises(StoreError, match=f"http://127.0.0.1:{port} does not answer: "):
            await write(store, sample())
        with pytest.raises(StoreError, match="does not answer"):
            await store.latest()
        with servers.influxdb(tmp_path, port=port):
            await write(store, sample())
            assert len(await store.latest()) == 1
            assert store.description.startswith("InfluxDB 1.")
