"""Entries survive what happens to the bytes around them."""

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.agent.spool_format import EntryKind, encode, scan
from thermogate.agent.spool_pack import pack, unpack

LINE = (
    b"gpu,node=n17,device=3,model=H100-SXM power_w=612.4,energy_j=123456.789,temp_c=63.0,util_ratio=0.98,"
    b"clock_event_sw_power_cap=1i,rle=0.41,collapse=0i 1763712000000000000\n"
)
PACKED = (
    "6862d4e3167343244f60e1074d98c6d084094e91c111be88b4686804b2199e1e8d8c4d4ccdf4cc2d2cf1244c0bdca902"
    "583540bd082cbe505c65666c6e68040d3030c5050004653485"
)
"""LINE, packed when version 2 was made."""

PAYLOADS = st.lists(st.binary(max_size=60), min_size=1, max_size=6)


def written(payloads: list[bytes]) -> list[bytes]:
    return [encode(EntryKind.TELEMETRY, seq, seq * 1000, payload) for seq, payload in enumerate(payloads)]


@given(PAYLOADS, st.integers(0, 10**6))
def test_entries_come_back_as_they_were_written(payloads: list[bytes], base: int) -> None:
    data = b"".join(written(payloads))
    entries = list(scan(data, base))
    assert [entry.payload for entry in entries] == payloads
    assert [(entry.seq, entry.at_ns) for entry in entries] == [(n, n * 1000) for n in range(len(payloads))]
    assert [entry.start for entry in entries] == [base, *(entry.end for entry in entries[:-1])]
    assert entries[-1].end == base + len(data)


@given(PAYLOADS, st.data())
def test_a_flipped_bit_costs_one_entry(payloads: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(written(payloads)))
    position = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[position // 8] ^= 1 << position % 8
    kept = [entry.seq for entry in scan(bytes(whole))]
    assert len(kept) == len(payloads) - 1
    assert kept == sorted(kept)


@given(PAYLOADS, st.data())
def test_a_cut_costs_what_was_cut(payloads: list[bytes], data: st.DataObject) -> None:
    entries = written(payloads)
    cut = data.draw(st.integers(0, sum(map(len, entries))))
    kept = list(scan(b"".join(entries)[:cut]))
    assert [entry.payload for entry in kept] == payloads[: len(kept)]
    assert sum(map(len, entries[: len(kept) + 1])) > cut or len(kept) == len(entries)


@given(PAYLOADS, st.binary(max_size=80))
def test_garbage_between_entries_is_passed_over(payloads: list[bytes], garbage: bytes) -> None:
    data = garbage.join(written(payloads))
    assert [entry.payload for entry in scan(data)] == payloads


def test_an_entry_within_a_payload_is_not_taken_for_one() -> None:
    inner = encode(EntryKind.EVENT, 7, 0, b"inner")
    outer = encode(EntryKind.TELEMETRY, 1, 0, inner)
    assert [entry.seq for entry in scan(outer)] == [1]


def written_by_version_1(kind: EntryKind, seq: int, at_ns: int, payload: bytes) -> bytes:
    packed = zlib.compress(payload, 1)
    body = struct.pack("<IBQQ", len(packed), kind, seq, at_ns) + packed
    return b"\xa7TG\x01" + struct.pack("<I", zlib.crc32(body)) + body


@given(PAYLOADS)
def test_entries_of_version_1_are_read_beside_those_of_today(payloads: list[bytes]) -> None:
    old = [written_by_version_1(EntryKind.EVENT, seq, 7, payload) for seq, payload in enumerate(payloads)]
    entries = list(scan(b"".join([*old, *written(payloads)])))
    assert [entry.payload for entry in entries] == payloads * 2
    assert {entry.kind for entry in entries[: len(old)]} == {EntryKind.EVENT}


def test_an_entry_of_a_version_to_come_is_passed_over() -> None:
    first, second = written([b"1", b"2"])
    assert [entry.payload for entry in scan(first[:3] + b"\x03" + first[4:] + second)] == [b"2"]


def test_a_spool_left_by_version_1_is_drained_after_the_upgrade(tmp_path: Path) -> None:
    opening = b'{"boot":"b","utc_ns":1763712000000000000,"stored":[]}'
    entries = [
        written_by_version_1(EntryKind.OPENED, 1, 1000, opening),
        written_by_version_1(EntryKind.TELEMETRY, 1, 2000, b"gpu,node=n17 temp_c=60.0 1\n"),
        written_by_version_1(EntryKind.TELEMETRY, 2, 3000, b"gpu,node=n17 temp_c=61.0 2\n"),
        written_by_version_1(EntryKind.STORED, 3, 4000, b"[[1,1]]"),
    ]
    (tmp_path / f"{1:020d}.seg").write_bytes(b"".join(entries))
    with Spool(tmp_path, SpoolSettings(), FakeClock()) as spool:
        assert spool.append("event", b"new") == 3
        left = [(record.seq, record.payload) for record in spool.read(0, 9)]
        assert left == [(2, b"gpu,node=n17 temp_c=61.0 2\n"), (3, b"new")]
        assert spool.lost == 0
        spool.ack(spool.id, [(2, 3)])
        assert spool.depth == 0


def test_what_this_version_has_packed_can_always_be_unpacked() -> None:
    assert unpack(bytes.fromhex(PACKED)) == LINE
    assert len(pack(LINE)) < len(LINE) / 2


def test_what_unpacks_to_more_than_a_spool_writes_is_refused_before_it_is_there() -> None:
    bomb = zlib.compress(bytes(256 << 20))
    tracemalloc.start()
    with pytest.raises(zlib.error, match="over 16777216 bytes"):
        unpack(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
    largest = bytes(16 << 20)
    assert unpack(pack(largest)) == largest


def test_half_of_what_was_packed_is_refused() -> None:
    with pytest.raises(zlib.error, match="cut"):
        unpack(pack(LINE)[:-9])


def test_of_a_file_longer_than_any_segment_the_beginning_is_read(tmp_path: Path) -> None:
    with Spool(tmp_path, SpoolSettings(), FakeClock()) as spool:
        spool.append("event", b"kept")
    (file,) = tmp_path.glob("*.seg")
    os.truncate(file, 100 << 30)
    tracemalloc.start()
    with Spool(tmp_path, SpoolSettings(), FakeClock()) as spool:
        assert [record.payload for record in spool.read(0, 9)] == [b"kept"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 128 << 20


def test_pipes_and_links_in_the_place_of_segments_are_passed_over(tmp_path: Path) -> None:
    with Spool(tmp_path, SpoolSettings(), FakeClock()) as spool:
        spool.append("event", b"kept")
    os.mkfifo(tmp_path / f"{8:020d}.seg")
    (tmp_path / f"{9:020d}.seg").symlink_to("/dev/zero")
    (tmp_path / "².seg").touch()
    with Spool(tmp_path, SpoolSettings(), FakeClock()) as spool:
        assert [record.payload for record in spool.read(0, 9)] == [b"kept"]
