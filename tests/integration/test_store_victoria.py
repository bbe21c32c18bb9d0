"""VictoriaMetrics as it is: what it drops, what it forgets and what survives. See also tests/contract."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests import servers
from tests.contract.making import GPU0, NOW_NS, decision, event, message, sample, status, stored, write
from tests.contract.seen_at_once import SeenAtOnce
from thermogate.collector.config import RetentionSettings, VictoriaSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.victoria import VictoriaStore
from thermogate.collector.store.victoria_setup import setup
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.model import SourceReport
from thermogate.core.query import DeviceTime

pytestmark = pytest.mark.integration

MS = 1_000_000
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.victoria(tmp_path_factory.mktemp("victoria")) as running:
        yield running


@contextlib.asynccontextmanager
async def victoria(url: str, database: str, **more: float) -> AsyncIterator[SeenAtOnce]:
    async with SeenAtOnce(VictoriaSettings(url=url, database=database, **more), SystemClock()) as store:  # type: ignore[arg-type]
        yield store


async def until(true, what):
    """Return what `true()` gives once it gives something."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await true()):
            await asyncio.sleep(0.1)
    return found


async def test_the_server_is_told(url: str) -> None:
    async with victoria(url, "told") as store:
        assert store.description == f"VictoriaMetrics at {url}, told"


# what it would drop without a word


@pytest.mark.parametrize("age_s", [31 * 86_400, 30 * 86_400 - 60, -3 * 86_400])
async def test_a_stamp_that_the_server_would_drop_is_refused(url: str, age_s: float) -> None:
    async with victoria(url, f"age {age_s}") as store:
        with pytest.raises(RejectedError, match=r"retentionPeriod|in the future") as caught:
            await write(store, sample(age_s), sample(0))
        assert not caught.value.stored
        with pytest.raises(RejectedError):
            await store.write(Batch(events=(event(age_s),)))
        assert await stored(store) == []


async def test_what_the_server_drops_all_the_same_is_said(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with victoria(url, "dropped", settle_s=1) as store, aiohttp.ClientSession() as session:
        await write(store, sample(0))
        await session.post(f"{url}/write?db=dropped", data=b"gpu,node=n1 temp_c= 1\n")
        await settled(await store.write(Batch(telemetry=(message(sample(1)),))))
    said = "has dropped or cut what somebody wrote"
    assert f'{url} {said}: vm_rows_invalid_total{{type="influx"}} +1' in caplog.text


@pytest.mark.parametrize("length", [100, 2900, 6000])
async def test_a_message_longer_than_a_label_comes_back_whole(url: str, length: int) -> None:
    text = ("\N{GREEK SMALL LETTER MU}\\ ,=\"'" * 900)[:length]
    long = status(sources=(SourceReport("s", True, text),) * 2, text=text)
    async with victoria(url, f"long {length}") as store:
        await store.write(Batch(statuses=(long,), events=(event(text=text),)))
    async with victoria(url, f"long {length}") as store:
        assert await store.statuses() == [long]
        assert await store.events(start_ns=0, end_ns=2**62) == [event(text=text)]


async def test_a_message_too_long_for_the_index_is_refused(url: str) -> None:
    noise = secrets.token_hex(30_000)
    async with victoria(url, "too long") as store:
        with pytest.raises(RejectedError, match="longer than VictoriaMetrics can index"):
            await store.write(Batch(statuses=(status(text=noise),), telemetry=(message(sample(0)),)))
        assert await stored(store) == []


# stamps


async def test_stamps_are_cut_to_milliseconds_and_everything_of_one_tick_stays_one_sample(url: str) -> None:
    async with victoria(url, "stamps") as store:
        points = [sample(0.123456789, device=device, power_w=300, temp_c=60) for device in "01"]
        await write(store, *points)
        cut_ns = points[0].time_ns // MS * MS
        assert cut_ns != points[0].time_ns
        for found in (await stored(store), await store.latest()):
            assert [(p.time_ns, p.fields) for p in found] == [(cut_ns, {"power_w": 300, "temp_c": 60})] * 2
        [usage] = await store.usage([DeviceTime(GPU0, cut_ns, cut_ns + 1)])
        assert usage is not None
        assert (usage.first_ns, usage.last_ns, usage.sample_count) == (cut_ns, cut_ns, 1)
        assert [p async for chunk in store.samples(start_ns=cut_ns + 1, end_ns=2**62) for p in chunk] == []


async def test_events_and_statuses_keep_their_nanoseconds(url: str) -> None:
    """Agents set events of one kind in one tick a nanosecond apart."""
    async with victoria(url, "nanoseconds") as store:
        events = [event(0.000000001 * n, text=str(n)) for n in range(3)]
        will = status(age_s=0.987654321, spool_depth=17)
        await store.write(Batch(events=tuple(events), statuses=(will,)))
        assert await store.events(start_ns=0, end_ns=2**62) == events
        assert await store.events(start_ns=events[1].time_ns, end_ns=NOW_NS) == [events[1]]
    async with victoria(url, "nanoseconds") as store:
        assert await store.statuses() == [will]


async def test_a_step_that_is_no_whole_millisecond_is_answered_too(url: str) -> None:
    async with victoria(url, "step") as store:
        await write(store, *(sample(age, temp_c=age) for age in range(10)))
        span = {"start_ns": NOW_NS - 4 * NS, "end_ns": NOW_NS + NS}
        [fine] = await store.series(GPU0, ("temp_c",), **span, step_ns=NS + 1)
        [coarse] = await store.series(GPU0, ("temp_c",), **span, step_ns=3600 * NS)
        assert sum(point.count for point in fine.points) == 5
        assert all(point.time_ns % (NS + 1) == 0 for point in fine.points)
        assert sum(point.count for point in coarse.points) == 5


# several collectors


async def test_two_collectors_answer_the_same(url: str) -> None:
    async with victoria(url, "two") as one, victoria(url, "two") as other:
        for store in (one, other):
            assert (await store.latest(), await store.statuses(), await store.gates()) == ([], [], [])
        await one.write(
            Batch(
                telemetry=(message(sample(0, temp_c=71), sample(0, device="1")),),
                statuses=(status(spool_depth=1),),
                decisions=(decision(1, 9), decision(2, 5, target="n2")),
            )
        )
        await other.write(
            Batch(
                telemetry=(message(sample(1, temp_c=70)),),
                statuses=(status("n2", online=False),),
                decisions=(decision(3, 1),),
            )
        )
        for store in (one, other):

            async def answers(store: VictoriaStore = store) -> bool:
                return await store.gates() == [decision(3, 1), decision(2, 5, target="n2")]

            await until(answers, "what the other has written")
            assert await store.statuses() == [status(spool_depth=1), status("n2", online=False)]
        newest = {("0", 71), ("1", 60)}
        assert {(p.device, p.fields["temp_c"]) for p in await one.latest()} == newest


async def test_a_device_model_that_changes_makes_one_device_all_the_same(url: str) -> None:
    """The model is a label: two series of one device."""
    async with victoria(url, "models") as store:
        energies = {9: 100, 8: 110, 7: 120, 3: 5, 2: 15, 1: 25}
        await write(
            store,
            *(
                sample(
                    age, model="A" if age > 5 else "B", temp_c=age, energy_j=energy, collapse=age in (8, 2)
                )
                for age, energy in energies.items()
            ),
        )
        [usage] = await store.usage([DeviceTime(GPU0, NOW_NS - 60 * NS, NOW_NS)])
        assert usage is not None
        assert (usage.energy_j, usage.energy_s, usage.collapse_count, usage.temp_c) == (40, 8, 2, 5)
        span = {"start_ns": NOW_NS - 60 * NS, "end_ns": NOW_NS}
        [one] = await store.series(GPU0, ("temp_c",), **span, step_ns=60 * NS)
        assert [(p.mean, p.min, p.max, p.count) for p in one.points] == [(5, 1, 9, 6)]
        assert [ranked.value for ranked in await store.top("gpu", "temp_c", **span, limit=3)] == [5]
        assert len(await stored(store)) == 6


# crashes


async def settled(settling) -> bool:
    assert settling is not None
    async with asyncio.timeout(PATIENCE_S):
        return await settling


async def test_what_has_settled_survives_kill_9_and_what_is_lost_has_ended_false(tmp_path: Path) -> None:
    port = servers.free_port()
    address = f"http://127.0.0.1:{port}"
    settings = VictoriaSettings(url=address, database="killed", settle_s=12)  # a second more than it needs
    ends: list[tuple[float, bool]] = []
    async with VictoriaStore(settings, SystemClock()) as store:
        writes = []
        with servers.victoria(tmp_path, port=port):  # which kills it at the end
            await asyncio.sleep(3)  # it has to be old enough to be known again
            begin_s = time.monotonic()
            while time.monotonic() - begin_s < settings.settle_s + 4:
                age_s = (NOW_NS - time.time_ns() // MS * MS) / NS
                batch = Batch(telemetry=(message(sample(age_s)),), events=(event(age_s),))
                writes.append((sample(age_s).time_ns, await store.write(batch)))
                await asyncio.sleep(0.1)
        with servers.victoria(tmp_path, port=port):
            ends = [(time_ns, await settled(settling)) for time_ns, settling in writes]
            kept = {point.time_ns for point in await stored(store)}
            told = {one.time_ns for one in await store.events(start_ns=0, end_ns=2**62)}
    sound = {time_ns for time_ns, end in ends if end}
    assert sound
    assert sound <= kept
    assert sound <= told
    assert {time_ns for time_ns, end in ends if not end}
    assert len(kept) < len(ends), "nothing was lost: the kill came too late to show anything"


async def test_a_server_that_is_down_is_waited_for(tmp_path: Path) -> None:
    port = servers.free_port()
    settings = VictoriaSettings(url=f"http://127.0.0.1:{port}", database="later")
    async with SeenAtOnce(settings, SystemClock()) as store:
        with pytest.raises(StoreError, match=f"http://127.0.0.1:{port} does not answer: "):
            await write(store, sample())
        with pytest.raises(StoreError, match="does not answer"):
            await store.latest()
        with servers.victoria(tmp_path, port=port):
            await write(store, sample())
            assert len(await store.latest()) == 1


async def test_a_server_that_is_no_victoriametrics_is_said(tmp_path: Path) -> None:
    with servers.influxdb(tmp_path) as address:
        async with VictoriaStore(VictoriaSettings(url=address), SystemClock()) as store:
            with pytest.raises(StoreError, match=r"not that of a single-node VictoriaMetrics|: 404"):
                await write(store, sample())


async def test_setup_says_what_a_server_lacks_and_a_user_who_may_not_ask(url: str, tmp_path: Path) -> None:
    async def said(address: str, **given: str) -> list[tuple[str, str]]:
        settings = VictoriaSettings(url=address, **given)  # type: ignore[arg-type]
        return [(step.did, step.what) async for step in setup(settings, RetentionSettings())]

    assert [did for did, _ in await said(url)] == ["there", "there"]
    (tmp_path / "password").write_text("sesame\n")
    flags = ("-dedup.minScrapeInterval=0s", "-httpAuth.username=us", "-httpAuth.password=sesame")
    with servers.victoria(tmp_path, extra=flags) as guarded:
        with pytest.raises(StoreError, match="401"):
            await said(guarded)
        known = {"username": "us", "password_file": str(tmp_path / "password")}
        [server, lacks] = await said(guarded, **known)
        assert server == ("there", f"VictoriaMetrics at {guarded}")
        assert lacks[0] == "left"
        assert "-dedup.minScrapeInterval is 0s" in lacks[1]
        async with VictoriaStore(VictoriaSettings(url=guarded, **known), SystemClock()) as store:  # type: ignore[arg-type]
            await write(store, sample())
            assert len(await store.latest()) == 1
