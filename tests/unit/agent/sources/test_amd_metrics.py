"""The firmware's table gpu_metrics (amd_tree.py says where its layouts come from)."""

from pathlib import Path

import pytest

from tests.unit.agent.sources.amd_tree import ALL_ONES, metrics_1_3, metrics_1_4, metrics_1_8, metrics_2_2
from thermogate.agent.sources.amd_metrics import Metrics, MetricsReader, decode
from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.sysfs import KernelFile

PPT0, TDC_GFX, TEMP_HOTSPOT, PROCHOT_GFX = 1 << 0, 1 << 16, 1 << 36, 1 << 47


class Table:
    """A gpu_metrics file and its reader."""

    def __init__(self, folder: Path, table: bytes) -> None:
        self.path = folder / "gpu_metrics"
        self.path.write_bytes(table)
        file = KernelFile(self.path)
        file.open()
        self.reader = MetricsReader(file, unit_known=False)

    def read(self, table: bytes) -> Fields:
        self.path.write_bytes(table)
        return self.reader.read()


def test_the_tables_have_the_sizes_of_the_kernels_structures() -> None:
    assert (len(metrics_1_3(0, 0)), len(metrics_2_2(0))) == (120, 128)


@pytest.mark.parametrize(
    ("table", "unit_known", "expected"),
    [
        (metrics_1_3(65536, 5), True, Metrics(1.0, 5)),
        (metrics_1_3(65536, 5), False, Metrics(None, 5)),
        (metrics_1_3(0, 0), True, Metrics(None, 0)),
        (metrics_1_3(ALL_ONES, ALL_ONES), True, Metrics()),
        (metrics_1_4(65536 * 3), False, Metrics(3.0)),
        (metrics_1_8(32768, 1, 2, 3, 4, 5, 6), False, Metrics(0.5, None, (1, 2, 3, 4, 5, 6))),
        (metrics_2_2(7), False, Metrics(None, 7)),
    ],
)
def test_energy_and_throttling_are_read_where_each_version_has_them(
    table: bytes, unit_known: bool, expected: Metrics
) -> None:
    assert decode(table, unit_known=unit_known) == expected


def test_the_second_form_of_1_6_is_told_from_the_first_by_its_size() -> None:
    second = bytearray(1728)
    second[:4] = (1728).to_bytes(2, "little") + bytes((1, 6))
    second[16:24] = (65536).to_bytes(8, "little")
    second[32:36] = (9).to_bytes(4, "little")
    first = bytearray(second[:384])
    first[:2] = (384).to_bytes(2, "little")
    assert decode(bytes(second), unit_known=False) == Metrics(1.0, None, (9, 0, 0, 0, 0, 0))
    assert decode(bytes(first), unit_known=False) == Metrics()


def test_a_table_longer_than_a_page_is_read_as_far_as_the_kernel_gives_it() -> None:
    table = (5000).to_bytes(2, "little") + metrics_1_8(65536, 1, 2, 3, 4, 5, 6)[2:]
    assert decode(table, unit_known=False) == Metrics(1.0, None, (1, 2, 3, 4, 5, 6))


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"\x78\x00\x01",
        metrics_1_3(65536, 1)[:31],
        b"\x78\x00\x01\x00" + bytes(116),
        b"\x78\x00\x01\x09" + bytes(116),
        b"\x78\x00\x03\x00" + bytes(116),
        b"\x04\x00\x01\x03",
        b"\x14\x00\x01\x08" + bytes(16),
    ],
)
def test_a_table_that_is_cut_or_unknown_says_nothing(table: bytes) -> None:
    assert decode(table, unit_known=True) == Metrics()


@pytest.mark.parametrize(
    ("status", "throttled", "capped"),
    [(0, 0, 0), (PPT0, 0, 1), (TDC_GFX, 0, 0), (TEMP_HOTSPOT, 1, 0), (PROCHOT_GFX | PPT0, 1, 1)],
)
def test_heat_is_throttling_and_the_power_that_is_set_is_not(
    tmp_path: Path, status: int, throttled: int, capped: int
) -> None:
    table = Table(tmp_path, metrics_1_3(1, status))
    assert table.read(metrics_1_3(1, status)) == {"throttled": throttled, "clock_event_sw_power_cap": capped}


def test_counters_of_throttled_time_tell_of_the_time_since_the_last_reading(tmp_path: Path) -> None:
    table = Table(tmp_path, b"")
    first = table.read(metrics_1_8(0, 100, 0, 7, 7, 0, 0))
    cool = table.read(metrics_1_8(0, 200, 0, 7, 7, 0, 0))
    hot = table.read(metrics_1_8(0, 300, 0, 7, 7, 1, 0))
    capped = table.read(metrics_1_8(0, 400, 0, 8, 7, 1, 0))
    assert first == {}
    assert cool == {"throttled": 0, "clock_event_sw_power_cap": 0}
    assert hot == {"throttled": 1, "clock_event_sw_power_cap": 0}
    assert capped == {"throttled": 0, "clock_event_sw_power_cap": 1}


def test_counters_that_the_firmware_has_not_moved_on_tell_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path, b"")
    table.read(metrics_1_8(0, 100, 0, 0, 0, 0, 0))
    assert table.read(metrics_1_8(0, 100, 0, 0, 0, 0, 0)) == {}
