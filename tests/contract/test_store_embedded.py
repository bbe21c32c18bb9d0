"""What only the embedded store has to do: survive kill -9 and a full disk, and hold its file alone."""

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.making import GPU0, NOW_NS, decision, event, message, sample, status, stored, write
from tests.contract.memory_store import MemoryStore
from tests.fakes import FakeClock
from thermogate.collector.config import EmbeddedSettings, RetentionSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.collector.store.embedded_write import spans
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import RejectedError, StoreError, UnavailableError

_ROOT = Path(__file__).parents[2]
_CHILD = "tests.contract.write_until_killed"


def embedded(folder: Path, *, read_only: bool = False, raw_days: float = 30, **more: float) -> EmbeddedStore:
    given = EmbeddedSettings(threads=1, **more)  # type: ignore[arg-type]
    retention = RetentionSettings(raw_days=raw_days)
    return EmbeddedStore(folder, given, SystemClock(), retention=retention, read_only=read_only)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    async with embedded(tmp_path) as opened:
        yield opened


@contextlib.contextmanager
def child(folder: Path, first: int, begin_ns: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", _CHILD, str(folder), str(first), str(begin_ns)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


# kill -9


async def test_every_batch_whose_write_returned_survives_kill_9_and_none_is_there_twice(
    tmp_path: Path,
) -> None:
    begin_ns, acknowledged = NOW_NS - 3600 * NS, -1
    for life_s in (0.05, 0.3, 0.1, 0.2, 0.4):
        with child(tmp_path, acknowledged + 1, begin_ns) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            await asyncio.sleep(life_s)
            process.kill()
            numbers = [int(line) for line in [said, *process.stdout.read().splitlines()]]
        acknowledged = max(numbers)
        async with embedded(tmp_path, read_only=True) as store:  # with the log that the dead left behind
            counts = Counter(point.time_ns for point in await stored(store))
            events = Counter(
                event.time_ns for event in await store.events(start_ns=0, end_ns=2**62, limit=10**6)
            )
        done = {begin_ns + number * NS for number in range(acknowledged + 1)}
        assert done <= counts.keys() <= done | {max(done) + NS}, "at most the batch on its way besides"
        assert set(counts.values()) == {3}
        assert events.keys() == counts.keys()
        assert set(events.values()) == {1}
    assert acknowledged > 20


# one process


async def test_second_process_is_told_in_one_sentence_which_file_is_in_use(tmp_path: Path) -> None:
    with child(tmp_path, 0, NOW_NS) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        for read_only in (False, True):
            with pytest.raises(UnavailableError, match=r"store\.duckdb is in use by another process \(.*PID"):
                async with embedded(tmp_path, read_only=read_only):
                    pass


async def test_reading_only_finds_no_store_where_none_was(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"there is no store at .*store\.duckdb"):
        async with embedded(tmp_path / "nowhere", read_only=True):
            pass


async def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"data folder .*file/data: Not a directory"):
        async with embedded(tmp_path / "file" / "data"):
            pass


async def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.duckdb").write_bytes(os.urandom(20_000))
    with pytest.raises(UnavailableError, match=r"store\.duckdb cannot be opened: "):
        async with embedded(tmp_path):
            pass


async def test_store_opened_for_reading_takes_no_batch(tmp_path: Path) -> None:
    async with embedded(tmp_path) as store:
        await write(store, sample())
    async with embedded(tmp_path, read_only=True) as store:
        assert len(await store.latest()) == 1
        with pytest.raises(StoreError):
            await write(store, sample(1))


async def test_reading_goes_on_while_writing(store: EmbeddedStore) -> None:
    async def read() -> int:
        counts = []
        while len(counts) < 20:
            counts.append(len(await stored(store)))
            assert len(await store.latest()) <= 1
        assert counts == sorted(counts), "each answer is at least as new as the one before"
        return counts[-1]

    reading = asyncio.create_task(read())
    written = 0
    while not reading.done():
        await write(store, *(sample(3600 - written * 10 - i) for i in range(10)))
        written += 1
    assert 0 < await reading <= 10 * written
    assert len(await stored(store)) == 10 * written


async def test_event_loop_runs_on_while_a_batch_is_written(store: EmbeddedStore) -> None:
    payloads = tuple(message(*(sample(i * 400 + j) for j in range(400))) for i in range(50))
    writing = asyncio.create_task(store.write(Batch(telemetry=payloads)))
    turns = 0
    while not writing.done():
        await asyncio.sleep(0.001)
        turns += 1
    await writing
    assert turns > 10


# a batch is whole


async def test_field_past_the_bound_of_unknown_ones_is_rejected_by_name(tmp_path: Path) -> None:
    async with embedded(tmp_path, max_extra_fields=1) as store:
        await write(store, sample(3, temp_c=1, first_w=2))
        with pytest.raises(RejectedError, match="gpu field second_w") as caught:
            await write(store, sample(2, temp_c=1), sample(1, temp_c=1, second_w=2))
        assert not caught.value.stored
        await write(store, sample(0, temp_c=1, first_w=3))
        assert [point.fields.get("first_w") for point in await stored(store)] == [2, 3]


@pytest.mark.parametrize("line", ["node=1", "time_ns=1", "temp_c=1e999"])
async def test_field_that_no_column_can_hold_is_rejected_and_nothing_of_its_batch_stored(
    store: EmbeddedStore, line: str
) -> None:
    bad = message(sample()).replace(b"temp_c=60.0", line.encode())
    with pytest.raises(RejectedError, match=line.partition("=")[0]):
        await store.write(Batch(telemetry=(message(sample(1)), bad), events=(event(),)))
    assert await stored(store) == []
    assert await store.events(start_ns=0, end_ns=2**62) == []
    await write(store, sample(1), sample(0))
    assert len(await stored(store)) == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(st.tuples(st.sampled_from("01"), st.integers(0, 30)), max_size=12), max_size=8)
)
async def test_whatever_the_order_of_samples_each_is_stored_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[str, int]]]
) -> None:
    folder, memory = tmp_path_factory.mktemp("store"), MemoryStore(SystemClock())
    for half in (batches[::2], batches[1::2]):  # opened twice, to begin from what is stored
        async with embedded(folder) as store:
            for batch in half:
                points = [sample(age, device=device, temp_c=i) for i, (device, age) in enumerate(batch)]
                await write(store, *points)
                await write(memory, *points)
            assert await stored(store) == await stored(memory)
            assert sorted(await store.latest(), key=repr) == sorted(await memory.latest(), key=repr)


@given(st.lists(st.integers(0, 10**15), min_size=1))
def test_few_spans_hold_every_late_stamp(stamps: list[int]) -> None:
    found = spans(stamps)
    assert len(found) <= 8
    assert all(any(first <= stamp <= last for first, last in found) for stamp in stamps)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))


# retention


class LateClock(FakeClock):
    """Begins now and moves only when told to."""

    def __init__(self) -> None:
        super().__init__(utc_ns=NOW_NS)


async def test_what_is_past_its_retention_goes_when_the_store_opens(tmp_path: Path) -> None:
    day_s = 86_400
    async with embedded(tmp_path, raw_days=3650) as store:
        await write(store, sample(31 * day_s), sample(29 * day_s), sample(0))
        await store.write(
            Batch(
                events=(event(31 * day_s), event(29 * day_s)),
                decisions=(decision(1, 31 * day_s), decision(2, 29 * day_s)),
                statuses=(status(age_s=31 * day_s),),
            )
        )
    async with embedded(tmp_path) as store:
        assert [point.time_ns for point in await stored(store)] == [NOW_NS - 29 * day_s * NS, NOW_NS]
        assert len(await store.events(start_ns=0, end_ns=2**62)) == 1
        assert len(await store.decisions(start_ns=0, end_ns=2**62)) == 1
        assert len(await store.statuses()) == 1, "there is one a node: it stays"


async def test_what_is_past_its_retention_goes_while_it_runs(tmp_path: Path) -> None:
    clock = LateClock()
    retention = RetentionSettings(raw_days=1)
    async with EmbeddedStore(tmp_path, EmbeddedSettings(threads=1), clock, retention=retention) as store:
        await write(store, sample(23.5 * 3600), sample(0))
        clock.pass_time(1800)
        await write(store, sample(-1800))
        assert len(await stored(store)) == 3
        clock.pass_time(1801)
        await write(store, sample(-3601))
        assert [point.time_ns for point in await stored(store)] == [
            NOW_NS,
            NOW_NS + 1800 * NS,
            NOW_NS + 3601 * NS,
        ]


async def test_device_that_returns_after_a_day_of_silence_is_stored_once(tmp_path: Path) -> None:
    clock = LateClock()
    async with EmbeddedStore(tmp_path, EmbeddedSettings(threads=1), clock) as store:
        await write(store, sample(1), sample(0))
        clock.pass_time(2 * 86_400)
        await write(store, sample(0, device="1"))  # the regular cleaning forgets the other device
        assert await store.latest() == []
        await write(store, sample(1), sample(0), sample(-1))
        assert len(await stored(store, device="gpu0")) == 3


# a full disk


@pytest.fixture(params=["4m", "20m"], ids=["the log does not fit", "the log cannot be moved into the file"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """DuckDB moves its log into the file at 16 MiB, where a full disk breaks it in another way."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", folder]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system takes root: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=80m", folder], check=True)


BIG = 1000


def big_batch(number: int) -> Batch:
    random = Random(number)
    fields = [f"f{i}_w" for i in range(40)]
    first = number * BIG
    lines = [sample(-first - i, **{name: random.random() for name in fields}) for i in range(BIG)]
    return Batch(telemetry=(message(*lines),))


async def test_full_disk_takes_batches_whole_or_not_at_all_and_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    done = failed = 0
    async with embedded(small_disk) as store:
        while failed < 3:
            try:
                await store.write(big_batch(done))
                done += 1
            except RejectedError:
                raise
            except StoreError:
                failed += 1
        enlarge(small_disk)
        for number in range(done, done + 10):  # the one that failed may have been stored, or not
            await store.write(big_batch(number))
    async with embedded(small_disk) as store:
        span = {"start_ns": 0, "end_ns": 2**62, "step_ns": BIG * NS}
        [series] = await store.series(GPU0, ("f7_w",), **span)
        assert sum(point.count for point in series.points) == (done + 10) * BIG


@pytest.mark.parametrize("left", [b"", bytes(4096)], ids=["nothing", "a header"])
async def test_a_file_that_a_full_disk_kept_from_being_made_is_made_at_the_next_start(
    tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "store.duckdb").write_bytes(left)
    async with embedded(tmp_path) as store:
        await write(store, sample(0))
        assert len(await stored(store)) == 1


async def test_a_whole_file_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "store.duckdb"
    file.write_bytes(b"x" * 20_000)
    with pytest.raises(UnavailableError, match="cannot be opened"):
        async with embedded(tmp_path):
            pass
    assert file.read_bytes() == b"x" * 20_000
