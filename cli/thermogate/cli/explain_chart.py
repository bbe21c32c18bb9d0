"""Signals of devices over time as lines of text: small charts of those that matter, newest values of all."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from thermogate.cli import render
from thermogate.core.clock import NS
from thermogate.core.query import Device, Series
from thermogate.core.schema import SIGNAL_FIELDS
from thermogate.dashboard.explain import Explanation

_LABEL = 18
_NUMBERS = 31
"""Columns left of a chart, with the indent, and right of it."""
_MOST_CHARTS = 1
_MOST_ROWS = 8
_HEADS = ("TEMP", "LIMIT", "POWER", "RLE", "VOLATILITY", "OVERLOAD", "INCOHERENCE", "REPAIR")
_FIELDS = ("temp_c", "temp_limit_c", "power_w", "rle", *SIGNAL_FIELDS)

Steps = Sequence[float | None]


class _Traced(NamedTuple):
    """A device with its series by field, a mean a step; None where nothing was measured."""

    device: Device
    steps: Mapping[str, Steps]

    def last(self, field: str) -> float | None:
        return next((value for value in reversed(self.steps.get(field, ())) if value is not None), None)


def lines(answer: Explanation, width: int) -> Iterator[str]:
    """A chart of the device that the decision names, or of the one nearest its limit; a row a device."""
    traced = _traced(answer)
    span = render.span((answer.at_ns - answer.start_ns) / NS)
    if not traced:
        if answer.known and answer.kind == "node":
            yield from ("", f"SIGNALS: nothing was measured here in the {span} before")
        return
    shown = _shown(answer, traced)
    yield from ("", f"SIGNALS over the {span} before {render.local_time(answer.at_ns)}")
    for one in shown:
        yield f"  {_name(one.device, answer)}"
        yield from _charts(one, answer, width)
        if not any(field in one.steps for field in SIGNAL_FIELDS):
            yield "    no signal yet: analytics learn first what is normal here, or do not run"
    if len(traced) > len(shown):
        yield ""
        rows = [[_name(one.device, answer), *map(_figures, map(one.last, _FIELDS))] for one in traced]
        yield from render.table(("DEVICE", *_HEADS), rows[:_MOST_ROWS]).split("\n")
        if len(rows) > _MOST_ROWS:
            yield f"and {len(rows) - _MOST_ROWS} more devices"


def _figures(value: float | None) -> str:
    """Three figures; "-" when it is absent."""
    if value is None:
        return render.ABSENT
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _charts(one: _Traced, answer: Explanation, width: int) -> Iterator[str]:
    limit = one.last("temp_limit_c")
    for field in ("temp_c", "rle", *SIGNAL_FIELDS):
        steps = one.steps.get(field, ())
        values = [value for value in steps if value is not None]
        if not values:
            continue
        bound = answer.bounds.get(field)
        if field == "temp_c":
            low, high = min(values), max(*values, limit if limit is not None else max(values))
            told = f"limit {limit:.0f}" if limit is not None else ""
        else:
            low, high = 0.0, max(*values, bound or 0.0, 1e-9)
            told = _over(values, bound, answer.step_ns)
        chart = render.sparkline(_fitted(steps, width - _LABEL - _NUMBERS), low, high)
        now = _figures(one.last(field))
        yield f"    {_label(field)}".ljust(_LABEL) + f"{chart}  {now:>5}  {told}".rstrip()


def _over(values: Sequence[float], bound: float | None, step_ns: int) -> str:
    if bound is None:
        return ""
    over = sum(value > bound for value in values)
    return f"over {bound:g} for {render.span(over * step_ns / NS)}" if over else f"bound {bound:g}"


def _fitted(steps: Steps, most: int) -> list[float | None]:
    """The highest of each run of steps, so that they fit; a peak is never left out."""
    each = -(-len(steps) // most)
    runs = (steps[n : n + each] for n in range(0, len(steps), each))
    return [max((value for value in run if value is not None), default=None) for run in runs]


def _traced(answer: Explanation) -> list[_Traced]:
    found: dict[Device, dict[str, Steps]] = {}
    for series in answer.series:
        found.setdefault(series.device, {})[series.field] = _steps(series, answer)
    return [_Traced(device, fields) for device, fields in found.items()]


def _steps(series: Series, answer: Explanation) -> Steps:
    first = answer.start_ns // answer.step_ns
    steps: list[float | None] = [None] * (answer.at_ns // answer.step_ns - first + 1)
    for point in series.points:
        place = point.time_ns // answer.step_ns - first
        if 0 <= place < len(steps):
            steps[place] = point.mean
    return steps


def _shown(answer: Explanation, traced: Sequence[_Traced]) -> Sequence[_Traced]:
    named = {reason.device for reason in (answer.decision.because if answer.decision else ())}
    found = [one for one in traced if named & {_plain(one.device), f"{one.device.node}/{_plain(one.device)}"}]
    return found[:_MOST_CHARTS] or [max(traced, key=_heat)]


def _heat(one: _Traced) -> float:
    """How near its limit a device is, or how warm where it has none."""
    temp, limit = one.last("temp_c"), one.last("temp_limit_c")
    if temp is None:
        return -1e9
    return temp - limit if limit is not None else temp - 1000.0


def _name(device: Device, answer: Explanation) -> str:
    own = answer.kind == "node" and device.node == answer.target
    return _plain(device) if own else f"{device.node}/{_plain(device)}"


def _plain(device: Device) -> str:
    return f"{device.kind}{device.device}"


def _label(field: str) -> str:
    return {"temp_c": "temperature C", "rle": "RLE", "repair_severity": "repair"}.get(field, field)
