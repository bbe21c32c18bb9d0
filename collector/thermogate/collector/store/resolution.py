"""Resolutions of stored samples: raw, a minute, an hour. What a window holds, and which answers what. Pure.

A rolled measurement (`gpu_1m`) has one row a device and window, tagged with node and device and stamped
with the window's begin, windows standing on multiples of their length since 1970. Its fields come from
those of the samples with begin <= stamp < end that are to be rolled up (collector.rollup.fields):

- gauges: `F_mean`, `F_min`, `F_max`, `F_count`, the samples that have F;
- counters: `F_count` and `F_growth`, the sum of the steps up from one sample that has F to the next. A
  step belongs to the window of its later sample, so growths of consecutive windows add up. A step down
  (the counter began anew) counts nothing, nor does a step between samples more than LOOK_BACK_NS apart;
- `collapse_growth`, `throttled_growth`: the same of these flags, how often they began;
- `energy_power_j`, where no sample of the window has `energy_j`: power between consecutive samples at most
  COVERED_NS apart, the mean of both times the time between, in the window of the later one. Absent with no
  such pair. It is computed, `energy_j_growth` was measured by the device.

What no sample has is absent. Windows of an hour are made from those of its minutes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from thermogate.collector.config import RetentionSettings
from thermogate.core.clock import NS
from thermogate.core.schema import MEASUREMENTS, Kind

Resolution = Literal["1m", "1h"]
Span = tuple[int, int]
"""[start_ns, end_ns)."""

STEP_NS: dict[Resolution, int] = {"1m": 60 * NS, "1h": 3600 * NS}
"""Length of a window; each divides the next."""
RESOLUTIONS: tuple[Resolution, ...] = ("1m", "1h")
"""Finest first; each is made from the one before, the first from the samples."""
ROLLED_KINDS: tuple[Kind, ...] = ("gpu", "cpu", "node")
"""The measurements that are rolled up; the agent's own cost is looked at while it is fresh."""
FLAGS_COUNTED = ("collapse", "throttled")
"""Gauges of 0 and 1 that have a growth too."""

LOOK_BACK_NS = 300 * NS
"""A counter's step is counted over at most this: late samples change what follows them no further."""
COVERED_NS = 60 * NS
"""A sample tells the power for at most this long; agents sample every second."""


class Window(msgspec.Struct, frozen=True):
    """Consecutive windows of a resolution, [start_ns, end_ns) on its multiples, of some nodes or of all."""

    start_ns: int
    end_ns: int
    nodes: tuple[str, ...] | None = None


class Piece(msgspec.Struct, frozen=True):
    """A part of a time that is answered from one resolution; None: from the samples."""

    resolution: Resolution | None
    start_ns: int
    end_ns: int


class Kept(msgspec.Struct, frozen=True):
    """How long each resolution is kept."""

    raw_ns: int
    minute_ns: int
    hour_ns: int

    def of(self, resolution: Resolution | None) -> int:
        """The age of a resolution, None the samples."""
        return {None: self.raw_ns, "1m": self.minute_ns, "1h": self.hour_ns}[resolution]


def kept_by(settings: RetentionSettings) -> Kept:
    """How long each resolution is kept, by the settings."""
    return Kept(
        *(
            round(days * 24 * STEP_NS["1h"])
            for days in (settings.raw_days, settings.minute_days, settings.hour_days)
        )
    )


def rolled_name(measurement: str, resolution: Resolution) -> str:
    """gpu, 1m: "gpu_1m"."""
    return f"{measurement}_{resolution}"


def gauges(kind: Kind, of: Collection[str] | None = None) -> tuple[str, ...]:
    """Fields of a kind that are rolled to mean, min, max and count: all, or those `of` them."""
    return tuple(
        field.name for field in MEASUREMENTS[kind].fields if not field.counter and _in(field.name, of)
    )


def counters(kind: Kind, of: Collection[str] | None = None) -> tuple[str, ...]:
    """Fields of a kind that are rolled to growth and count: all, or those `of` them."""
    return tuple(field.name for field in MEASUREMENTS[kind].fields if field.counter and _in(field.name, of))


def counted_flags(kind: Kind, of: Collection[str] | None = None) -> tuple[str, ...]:
    """Gauges of a kind that are rolled to a growth as well."""
    return tuple(name for name in gauges(kind, of) if name in FLAGS_COUNTED)


def has_power(kind: Kind, of: Collection[str] | None = None) -> bool:
    """Whether windows of a kind may have `energy_power_j`."""
    return "power_w" in gauges(kind, of)


def sampled_fields(kind: Kind, of: Collection[str] | None = None) -> tuple[str, ...]:
    """What windows are made from: where power is rolled up, the counter tells whether to compute energy."""
    more = ("energy_j",) if has_power(kind, of) else ()
    return (*gauges(kind, of), *counters(kind, None if of is None else (*of, *more)))


def rolled_fields(kind: Kind, of: Collection[str] | None = None) -> tuple[str, ...]:
    """Every field that a window of a kind may have, in the order of the schema."""
    names: list[str] = []
    for field in MEASUREMENTS[kind].fields:
        if not _in(field.name, of):
            continue
        ends = ("growth", "count") if field.counter else ("mean", "min", "max", "count")
        names += [f"{field.name}_{end}" for end in ends]
        if field.name in FLAGS_COUNTED:
            names.append(f"{field.name}_growth")
    return (*names, "energy_power_j") if has_power(kind, of) else tuple(names)


def _in(name: str, of: Collection[str] | None) -> bool:
    return of is None or name in of


def floor(time_ns: int, step_ns: int) -> int:
    """The begin of the window of a stamp."""
    return time_ns // step_ns * step_ns


def ceil(time_ns: int, step_ns: int) -> int:
    """The first begin of a window at or after a stamp."""
    return -(-time_ns // step_ns) * step_ns


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same times in order, those that touch or overlap as one; empty spans are left out."""
    found: list[Span] = []
    for start_ns, end_ns in sorted(span for span in spans if span[0] < span[1]):
        if found and start_ns <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_ns))
        else:
            found.append((start_ns, end_ns))
    return tuple(found)


def horizon(resolution: Resolution | None, kept: Kept, now_ns: int) -> int:
    """The first whole hour of which a resolution, None the samples, still has everything."""
    return ceil(now_ns - kept.of(resolution), STEP_NS["1h"])


def pieces(
    start_ns: int,
    end_ns: int,
    step_ns: int | None,
    *,
    kept: Kept,
    now_ns: int,
    covered: Mapping[Resolution, Sequence[Span]],
) -> list[Piece]:
    """From what a question about [start_ns, end_ns) is answered, oldest first, without overlap.

    Answers in steps of `step_ns`, None one answer for all of it, are put together from whole windows: the
    longest that divide the step, shorter ones at the edges, and the samples for what is left or has not
    been rolled up; `covered` (as of `merged`) says what has. What is too old for samples is answered from
    whole windows of the finest resolution kept, which may reach beyond the range and be longer than the
    step.
    """
    fitting = [r for r in reversed(RESOLUTIONS) if step_ns is None or step_ns % STEP_NS[r] == 0]
    return list(_joined(_filled(start_ns, end_ns, fitting, kept, now_ns, covered)))


def _filled(
    start_ns: int,
    end_ns: int,
    resolutions: Sequence[Resolution],
    kept: Kept,
    now_ns: int,
    covered: Mapping[Resolution, Sequence[Span]],
) -> Iterator[Piece]:
    if not resolutions:
        yield from _unrolled(start_ns, end_ns, kept, now_ns)
        return
    resolution, *finer = resolutions
    step_ns, oldest_ns = STEP_NS[resolution], horizon(resolution, kept, now_ns)
    done_ns = start_ns
    for first_ns, last_ns in covered.get(resolution, ()):
        begin_ns = ceil(max(start_ns, first_ns, oldest_ns), step_ns)
        until_ns = floor(min(end_ns, last_ns), step_ns)
        if begin_ns < until_ns:
            yield from _filled(done_ns, begin_ns, finer, kept, now_ns, covered)
            yield Piece(resolution, begin_ns, until_ns)
            done_ns = until_ns
    yield from _filled(done_ns, end_ns, finer, kept, now_ns, covered)


def _unrolled(start_ns: int, end_ns: int, kept: Kept, now_ns: int) -> Iterator[Piece]:
    """Samples where they are kept; before, whole windows of what is."""
    raw_ns = max(start_ns, min(end_ns, horizon(None, kept, now_ns)))
    minutes_ns = max(start_ns, min(raw_ns, horizon("1m", kept, now_ns)))
    for resolution, first_ns, last_ns in (("1h", start_ns, minutes_ns), ("1m", minutes_ns, raw_ns)):
        if first_ns < last_ns:
            step_ns = STEP_NS[resolution]  # type: ignore[index]
            yield Piece(resolution, floor(first_ns, step_ns), ceil(last_ns, step_ns))  # type: ignore[arg-type]
    if raw_ns < end_ns:
        yield Piece(None, raw_ns, end_ns)


def _joined(found: Iterable[Piece]) -> Iterator[Piece]:
    last: Piece | None = None
    for piece in found:
        if piece.start_ns >= piece.end_ns:
            continue
        if last is not None and last.resolution == piece.resolution and piece.start_ns <= last.end_ns:
            last = Piece(last.resolution, last.start_ns, max(last.end_ns, piece.end_ns))
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last
