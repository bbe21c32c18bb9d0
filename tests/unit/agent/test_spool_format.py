"""Entries survive what happens to the bytes around them."""

from hypothesis import given
from hypothesis import strategies as st

from thermogate.agent.spool_format import EntryKind, encode, scan

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
