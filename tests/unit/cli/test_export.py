"""`thermogate export`, from a data folder and over HTTP: Parquet and CSV hold the same."""

import asyncio
import csv
import threading

import duckdb
import pytest

from tests.fake_query import FakeQuery, recorded
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import QUICK
from tests.unit.dashboard.test_api import NOW, SESSION
from thermogate.cli import main as cli
from thermogate.cli.parquet import ParquetWriter
from thermogate.core.errors import StoreError, UnavailableError
from thermogate.core.schema import INTEGER_FIELDS
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.export import IDENTITY
from thermogate.dashboard.times import parse_time


@pytest.fixture
def serve():
    """Serve a query from a thread of its own, as the command has a loop of its own."""
    ends = []

    def start(query):
        loop, ready = asyncio.new_event_loop(), threading.Event()
        stop, url = asyncio.Event(), []

        async def main():
            async with Dashboard(Answers(query, FakeClock(NOW), QUICK), QUICK) as dashboard:
                url.append(dashboard.url)
                ready.set()
                await stop.wait()

        thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
        thread.start()
        ends.append((loop, stop, thread))
        ready.wait(30)
        return url[0]

    yield start
    for loop, stop, thread in ends:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def fleet():
    points = [
        *recorded(SESSION, node="n1", end_ns=NOW),
        Point("gpu", "n2", "0", "H100", "", {"mem_used_bytes": 2.0**52, "power_w": 1 / 3}, NOW - 1),
        Point("node", "n2", "", "", "", {"power_w": 5400.0}, NOW - 2),
    ]
    return FakeQuery(points)


def rows_of(file):
    """The rows of a Parquet file as those of the CSV, and its columns with their types."""
    with duckdb.connect() as database:
        found = database.execute("select epoch_ns(time) as ns, * from read_parquet(?)", [str(file)])
        names = [one[0] for one in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        types = database.execute("describe select * from read_parquet(?)", [str(file)]).fetchall()
    return rows, {name: kind for name, kind, *_ in types}


def test_parquet_holds_what_the_csv_holds(serve, tmp_path, capsys):
    url = serve(fleet())
    parquet, table = tmp_path / "it's.parquet", tmp_path / "fleet.csv"
    assert cli.main(["export", "--url", url, "--out", str(parquet)]) == 0
    assert cli.main(["export", "--url", url, "--out", str(table)]) == 0
    rows, types = rows_of(parquet)
    with table.open(newline="") as lines:
        expected = list(csv.DictReader(lines))
    assert len(rows) == len(expected) == 182
    for row, line in zip(rows, expected, strict=True):
        assert row["ns"] == parse_time(line["time"], 0)
        for name in IDENTITY[1:]:
            assert (row[name] or "") == line[name]
        fields = {name: float(text) for name, text in line.items() if text and name not in IDENTITY}
        known = {name: value for name, value in row.items() if name not in (*IDENTITY, "ns")}
        assert {name: value for name, value in known.items() if value is not None} == fields
    assert types["time"] == "TIMESTAMP_NS"
    assert {types[name] for name in types if name in INTEGER_FIELDS} == {"BIGINT"}
    assert types["power_w"] == "DOUBLE"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.csv", "it's.parquet"]


def test_a_range_without_samples_is_a_file_without_rows(serve, tmp_path):
    file = tmp_path / "none.parquet"
    asked = ["--url", serve(fleet()), "--from", "2020-01-01", "--to", "2020-01-02"]
    assert cli.main(["export", *asked, "--out", str(file)]) == 0
    assert rows_of(file)[0] == []


def test_an_export_that_breaks_off_leaves_the_file_as_it_was(serve, tmp_path, capsys):
    class Breaking(FakeQuery):
        async def samples(self, **asked):
            async for chunk in super().samples(**asked):
                yield chunk
                raise StoreError("the disk is gone")

    file = tmp_path / "fleet.parquet"
    file.write_bytes(b"before")
    assert (
        cli.main(["export", "--url", serve(Breaking(fleet().points["gpu", "n1", "0"])), "--out", str(file)])
        == 1
    )
    assert "its answer broke off" in capsys.readouterr().err
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def write(file, pieces):
    with ParquetWriter(file) as writer:
        for piece in pieces:
            writer.write(piece)


@pytest.mark.parametrize("rows", [1, 200_000])
def test_what_is_no_table_is_an_error_and_leaves_nothing(tmp_path, rows):
    file = tmp_path / "bad.parquet"
    line = "yesterday,n1,gpu,0,m,,612.4\n"
    with pytest.raises(UnavailableError, match=r"bad\.parquet: Conversion Error"):
        write(file, ["time,node,kind,device,model,origin,power_w\n", *[line * 1000] * (rows // 1000 + 1)])
    assert list(tmp_path.iterdir()) == []


def test_parquet_needs_a_file_that_can_be_written(tmp_path, capsys):
    assert cli.main(["export", "--format", "parquet"]) == 78
    assert "name a file with --out" in capsys.readouterr().err
    with pytest.raises(UnavailableError, match="nothing to write"):
        write(tmp_path / "x.parquet", [])
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnavailableError, match="cannot be written: Is a directory"):
        write(tmp_path / "folder", ["time,node\n"])
    with pytest.raises(UnavailableError, match="cannot be written: No such file"):
        write(tmp_path / "no" / "x.parquet", [])


@pytest.mark.parametrize(
    "head", ["time,x': 'VARCHAR'}) ) to '/tmp/stolen'; --", "time,node,time", "", "<html>", "time,node="]
)
def test_header_that_is_none_of_an_export_goes_into_no_sql(tmp_path, head):
    file = tmp_path / "a.parquet"
    with pytest.raises(UnavailableError, match="no export"), ParquetWriter(file) as writer:
        writer.write(f"{head}\n1,2\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_file_that_cannot_be_written_is_one_sentence(serve, tmp_path, capsys, name):
    url = serve(FakeQuery())
    assert cli.main(["export", "--url", url, "--out", str(tmp_path / "nowhere" / name)]) == 1
    assert "cannot be written" in capsys.readouterr().err
