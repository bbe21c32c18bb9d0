"""Which pieces answer a question, for any question."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.making import message, sample
from thermogate.collector.rollup_windows import (
    ALL,
    MINUTE_NS,
    Dirty,
    Marker,
    Nodes,
    chunks,
    followed,
    newest_gap,
    runs,
    stamps,
    uncovered,
)
from thermogate.collector.store.resolution import (
    RESOLUTIONS,
    STEP_NS,
    Kept,
    Resolution,
    Span,
    merged,
    pieces,
    rolled_fields,
)
from thermogate.core.clock import NS
from thermogate.core.wire import Point

HOUR_NS = STEP_NS["1h"]
DAY_NS = 24 * HOUR_NS
NOW_NS = 20_000 * DAY_NS
KEPT = Kept(10 * DAY_NS, 100 * DAY_NS, 1000 * DAY_NS)

ages = st.integers(0, 3 * DAY_NS // NS).map(lambda age_s: NOW_NS - age_s * NS)
old_ages = st.integers(0, 1500 * 24).map(lambda hours: NOW_NS - hours * HOUR_NS - 17 * NS)
windows = st.lists(
    st.tuples(st.integers(0, 3 * 1440), st.integers(0, 1440)).map(
        lambda pair: (NOW_NS - pair[0] * MINUTE_NS, NOW_NS + (pair[1] - pair[0]) * MINUTE_NS)
    ),
    max_size=4,
).map(merged)
steps = st.sampled_from([None, 1, 10, 60, 90, 120, 300, 3600, 5400, 7200]).map(
    lambda step_s: None if step_s is None else step_s * NS
)


def within(span: Span, spans: tuple[Span, ...]) -> bool:
    return any(first <= span[0] and span[1] <= last for first, last in spans)


@given(ages, ages, steps, windows, windows)
def test_pieces_are_the_range_in_order_without_gap_or_overlap(
    one_ns: int, other_ns: int, step_ns: int | None, minutes: tuple[Span, ...], hours: tuple[Span, ...]
) -> None:
    start_ns, end_ns = sorted((one_ns, other_ns))
    covered: dict[Resolution, tuple[Span, ...]] = {"1m": minutes, "1h": hours}
    found = pieces(start_ns, end_ns, step_ns, kept=KEPT, now_ns=NOW_NS, covered=covered)
    edges = [start_ns, *(piece.end_ns for piece in found)]
    assert [piece.start_ns for piece in found] == edges[:-1]
    assert edges[-1] == end_ns
    for piece in found:
        assert piece.start_ns < piece.end_ns
        if piece.resolution is not None:
            length_ns = STEP_NS[piece.resolution]
            assert piece.start_ns % length_ns == piece.end_ns % length_ns == 0
            assert step_ns is None or step_ns % length_ns == 0
            assert within((piece.start_ns, piece.end_ns), covered[piece.resolution])


@given(old_ages, old_ages, steps, windows, windows)
def test_old_times_are_answered_from_whole_windows_each_once(
    one_ns: int, other_ns: int, step_ns: int | None, minutes: tuple[Span, ...], hours: tuple[Span, ...]
) -> None:
    start_ns, end_ns = sorted((one_ns, other_ns))
    covered: dict[Resolution, tuple[Span, ...]] = {"1m": minutes, "1h": hours}
    found = pieces(start_ns, end_ns, step_ns, kept=KEPT, now_ns=NOW_NS, covered=covered)
    assert all(one.end_ns == two.start_ns for one, two in itertools.pairwise(found))
    for piece in found:
        assert piece.resolution is not None or piece.start_ns >= NOW_NS - KEPT.raw_ns
        length_ns = STEP_NS[piece.resolution] if piece.resolution else 1
        assert piece.start_ns % length_ns == piece.end_ns % length_ns == 0
    if found:
        assert start_ns - HOUR_NS < found[0].start_ns <= start_ns
        assert end_ns <= found[-1].end_ns < end_ns + HOUR_NS


def test_hours_answer_a_day_with_minutes_and_samples_at_its_edges() -> None:
    covered: dict[Resolution, tuple[Span, ...]] = dict.fromkeys(RESOLUTIONS, ((NOW_NS - DAY_NS, NOW_NS),))
    start_ns, end_ns = NOW_NS - DAY_NS + 1830 * NS, NOW_NS - 30 * NS
    found = pieces(start_ns, end_ns, None, kept=KEPT, now_ns=NOW_NS, covered=covered)
    assert [piece.resolution for piece in found] == [None, "1m", "1h", "1m", None]


def test_every_field_of_a_window_has_a_name_of_its_own() -> None:
    for kind in ("gpu", "cpu", "node"):
        names = rolled_fields(kind)  # type: ignore[arg-type]
        assert len(set(names)) == len(names)
    assert {"power_w_mean", "energy_j_growth", "collapse_growth", "energy_power_j"} <= set(
        rolled_fields("gpu")
    )


points = st.builds(
    lambda age_s, device, kind: sample(age_s, "n1", device, kind=kind, power_w=1.5),
    st.sampled_from([0, 0.5, 1, 60, 4000.25]),
    st.sampled_from(["0", "1", "17"]),
    st.sampled_from(["gpu", "cpu"]),
)


@given(st.lists(points, min_size=1, max_size=6))
def test_stamps_of_a_payload_are_those_of_its_lines(some: list[Point]) -> None:
    node, times = stamps(message(*some))
    assert node == b"n1"
    assert set(times) == {point.time_ns for point in some}
    assert set(stamps(message(*some, ack=True))[1]) == set(times)


@given(windows, ages, ages)
def test_uncovered_and_covered_make_the_range(spans: tuple[Span, ...], one_ns: int, other_ns: int) -> None:
    start_ns, end_ns = sorted((one_ns, other_ns))
    gaps = uncovered(spans, start_ns, end_ns)
    inside = [(max(first, start_ns), min(last, end_ns)) for first, last in spans]
    assert merged([*gaps, *inside]) == (((start_ns, end_ns),) if start_ns < end_ns else ())
    assert not any(first < gap[1] and gap[0] < last for first, last in spans for gap in gaps)


@given(windows, windows)
def test_gaps_are_closed_step_by_step_until_there_is_none(
    minutes: tuple[Span, ...], hours: tuple[Span, ...]
) -> None:
    covered: dict[Resolution, tuple[Span, ...]] = {"1m": minutes, "1h": ()}
    until_ns: dict[Resolution, int] = {"1m": NOW_NS, "1h": NOW_NS}
    oldest_ns = NOW_NS - DAY_NS
    for _ in range(100):
        gap = newest_gap(covered, until_ns, oldest_ns, 7 * HOUR_NS)
        if gap is None:
            break
        resolution, span = gap
        assert not within(span, covered[resolution])
        assert span[0] % STEP_NS[resolution] == span[1] % STEP_NS[resolution] == 0
        covered[resolution] = merged([*covered[resolution], span])
    assert within((oldest_ns, NOW_NS), covered["1m"])
    assert within((oldest_ns, NOW_NS), covered["1h"])


nodes = st.one_of(st.none(), st.sets(st.sampled_from([b"a", b"b", b"c"]), min_size=1))
dirty_windows = st.dictionaries(st.integers(0, 30).map(lambda n: n * MINUTE_NS), nodes)


def pairs(found: dict[int, Nodes]) -> set[tuple[int, bytes | None]]:
    return {(start, node) for start, some in found.items() for node in ([None] if some is None else some)}


@given(dirty_windows, st.integers(1, 9))
def test_chunks_and_runs_lose_no_window(found: dict[int, Nodes], most: int) -> None:
    parts = list(chunks(found, most, 5))
    assert {start: some for part in parts for start, some in part.items()} == found
    made = {
        (start, node if node is None else node.encode())
        for window in runs(found, MINUTE_NS)
        for start in range(window.start_ns, window.end_ns, MINUTE_NS)
        for node in (window.nodes if window.nodes is not None else [None])
    }
    assert made == pairs(found)


@given(dirty_windows)
def test_minutes_after_a_late_one_are_made_anew_too(found: dict[int, Nodes]) -> None:
    until_ns = 32 * MINUTE_NS
    wide = followed(found, until_ns)
    wanted = {
        (later, node)
        for start, node in pairs(found)
        for later in range(start, min(until_ns, start + 6 * MINUTE_NS), MINUTE_NS)
    }
    assert {(s, n) for s, n in wanted if wide[s] is not None} <= pairs(wide)
    assert wide.keys() == {start for start, _ in wanted}


def test_node_with_samples_from_everywhere_is_bounded() -> None:
    dirty = Dirty("1m", 10**6 * MINUTE_NS)
    for window in range(2000):
        for node in range(400):
            dirty.add(window * MINUTE_NS, {b"n%d" % node})
    assert len(dirty) == 2000
    assert sum(len(some or ()) for _, some in dirty.items()) <= 100_000 + 8 * 2000


def test_samples_past_their_retention_and_days_ahead_are_not_rolled_up() -> None:
    dirty = Dirty("1m", NOW_NS)
    marker = Marker(dirty)
    payloads = [
        message(Point("gpu", "n1", "0", "", "", {"temp_c": 1.0}, stamp_ns))
        for stamp_ns in (NOW_NS - 11 * DAY_NS, NOW_NS + 2 * DAY_NS, NOW_NS - DAY_NS, NOW_NS + 5 * NS)
    ]
    noted = marker.mark(payloads, NOW_NS, NOW_NS - 10 * DAY_NS)
    assert noted == [(NOW_NS - DAY_NS, b"n1"), (NOW_NS, ALL)]
    assert [start for start, _ in dirty.items()] == [NOW_NS - DAY_NS, NOW_NS]
