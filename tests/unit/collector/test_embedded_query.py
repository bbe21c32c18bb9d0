"""Reading samples of many devices a few at a time, in order and each once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.making import message, sample
from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.base import Batch
from thermogate.collector.store.duck import Database
from thermogate.collector.store.embedded_query import Reader
from thermogate.collector.store.embedded_write import Writer
from thermogate.collector.store.tables import Tables
from thermogate.core.wire import Point

POINTS = [
    sample(age, node, device)
    for node in ("a", "a-b", "b", "c.d")
    for device in ("0", "1", "10", "2")
    for age in (1, 0)
]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[tuple[Database, Tables]]:
    database, tables = Database(tmp_path / "file", EmbeddedSettings(threads=1), read_only=False), Tables(0)
    database.open()
    with database.transaction() as cursor:
        tables.create(cursor)
    writer = Writer(database, tables)
    writer.start([], 0)
    writer.write(Batch(telemetry=tuple(message(point) for point in POINTS)))
    yield database, tables
    database.close()


def read(reader: Reader, node: str | None = None, device: str | None = None) -> list[list[Point]]:
    return list(reader.samples(0, 2**62, node, device))


@pytest.mark.parametrize("sorted_rows", [1, 2, 3, 5, 8, 9, 100])
def test_samples_are_in_order_and_each_once_however_few_are_sorted_at_a_time(
    filled: tuple[Database, Tables], sorted_rows: int
) -> None:
    reader = Reader(*filled, sorted_rows=sorted_rows)
    runs = read(reader)
    assert [point for run in runs for point in run] == POINTS
    assert all(len(run) <= max(sorted_rows, 2) for run in runs)
    assert [p for run in read(reader, device="gpu1") for p in run] == [p for p in POINTS if p.device == "1"]
    assert [p for run in read(reader, node="a-b") for p in run] == [p for p in POINTS if p.node == "a-b"]
