"""What devices did over given times, from VictoriaMetrics: one question for the devices of one time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import pairwise

from thermogate.collector.store.victoria_http import VictoriaHttp
from thermogate.collector.store.victoria_text import MS, one_of, selector
from thermogate.core.query import Device, Usage

_NAMES_LENGTH = 1000
"""Of the nodes in one question, which names them ten times (-search.maxQueryLen is 16,384)."""
_MEANS = ("power_w", "temp_c", "rle", "collapse", "throttled")
_PROBES = ("temp_c", "power_w", "util_ratio")
"""Where these agree on the number of samples of a device, it is that of all its fields."""
_MEAN = ("avg_over_time", "count_over_time")
_WHEN = ("count_over_time", "tfirst_over_time", "tlast_over_time")
_REDUCED: Mapping[str, tuple[str, ...]] = {
    "power_w": ("avg_over_time", *_WHEN),
    "temp_c": ("avg_over_time", "max_over_time", *_WHEN),
    "util_ratio": _WHEN,
    "rle": _MEAN,
    "collapse": (*_MEAN, "first_over_time"),
    "throttled": _MEAN,
    "energy_j": (*_WHEN, "decreases_over_time"),
}
_GROWING = ("collapse", "energy_j")

Span = tuple[int, int]
"""[start_ms, end_ms)."""
_Found = dict[tuple[str, str], list[float]]
"""Numbers by (field, function), one for each series."""
_Answers = dict[tuple[str, str], _Found]
"""By node and device."""


async def usage(
    http: VictoriaHttp, database: str, devices: Sequence[Device], spans: Sequence[Span]
) -> list[Usage | None]:
    """As `Query.usage`, of each device over the span of the same index."""
    asked: dict[tuple[str, Span], dict[Device, list[int]]] = {}
    for number, (device, span) in enumerate(zip(devices, spans, strict=True)):
        asked.setdefault((device.kind, span), {}).setdefault(device, []).append(number)
    found: list[Usage | None] = [None] * len(devices)
    for (kind, span), numbers in asked.items():
        if span[0] >= span[1]:
            continue
        for some in _batches(numbers):
            answers = await _ask(http, database, kind, some, span)
            for device in some:
                told = answers.get((device.node, device.device), {})
                one = await _usage(http, database, device, span, told)
                for number in numbers[device]:
                    found[number] = one
    return found


def _batches(devices: Iterable[Device]) -> Iterator[list[Device]]:
    batch: list[Device] = []
    length = 0
    for device in sorted(devices):
        length += len(device.node) if not batch or batch[-1].node != device.node else 0
        if batch and length > _NAMES_LENGTH:
            yield batch
            batch, length = [], len(device.node)
        batch.append(device)
    if batch:
        yield batch


async def _ask(
    http: VictoriaHttp, database: str, kind: str, devices: Sequence[Device], span: Span
) -> _Answers:
    """What the fields and, by some of them, all samples of each device come to."""
    matchers, window = _matching(devices), f"[{span[1] - span[0]}ms]"
    parts = []
    for field, functions in _REDUCED.items():
        names = ",".join(f'"{name}"' for name in functions)
        samples = selector(database, f"{kind}_{field}", *matchers) + window
        parts.append(f'label_set(aggr_over_time(({names}), {samples}), "field", "{field}")')
        if field in _GROWING:  # looks at nothing before the window, unlike others of its kind
            grown = f"increase_prometheus({samples})"
            parts.append(f'label_set({grown}, "field", "{field}", "rollup", "increase_prometheus")')
    found = await _answers(http, parts, span)
    unsure = [device for device in devices if not _overall(found.get((device.node, device.device), {}))]
    if unsure:
        every = selector(database, f"{kind}_", *_matching(unsure)) + window
        for key, told in (await _answers(http, _whole(every), span)).items():
            found.setdefault(key, {}).update(told)
    return found


def _matching(devices: Iterable[Device]) -> tuple[str, str]:
    """Matchers for the devices, and perhaps others of their nodes."""
    return (
        one_of("node", sorted({device.node for device in devices})),
        one_of("device", sorted({device.device for device in devices})),
    )


def _whole(samples: str) -> list[str]:
    """How many samples each device has, and from when to when, by all its fields."""
    counts = f"sum(count_over_time({samples}) keep_metric_names) by (__name__, node, device)"
    told = {
        "count_over_time": f"max({counts})",
        "tfirst_over_time": f"min(tfirst_over_time({samples}))",
        "tlast_over_time": f"max(tlast_over_time({samples}))",
    }
    return [f'label_set({one} by (node, device), "rollup", "{name}")' for name, one in told.items()]


def _overall(told: _Found) -> tuple[float, float, float] | None:
    """Number of samples, first and last (UTC seconds); None when the probes do not agree."""
    if ("", "count_over_time") in told:
        count, first_s, last_s = (told["", name][0] for name in _WHEN)
        return count, first_s, last_s
    probes = [field for field in _PROBES if (field, "count_over_time") in told]
    counts = {sum(told[field, "count_over_time"]) for field in probes}
    if len(counts) != 1:
        return None
    first_s = min(min(told[field, "tfirst_over_time"]) for field in probes)
    last_s = max(max(told[field, "tlast_over_time"]) for field in probes)
    return counts.pop(), first_s, last_s


async def _answers(http: VictoriaHttp, parts: Sequence[str], span: Span) -> _Answers:
    found: _Answers = {}
    for row in await http.instant(f"union({', '.join(parts)})", span[1] - 1):
        labels = row.metric
        device = found.setdefault((labels["node"], labels.get("device", "")), {})
        device.setdefault((labels.get("field", ""), labels["rollup"]), []).append(float(row.value[1]))
    return found


async def _usage(http: VictoriaHttp, database: str, device: Device, span: Span, told: _Found) -> Usage | None:
    overall = _overall(told)
    if overall is None:
        return None
    count, first_s, last_s = overall
    power_w, temp_c, rle, collapse_ratio, throttled_ratio = (_mean(told, field) for field in _MEANS)
    collapse_count, energy = _growth(told, "collapse"), _energy(told)
    if len(told.get(("collapse", "count_over_time"), ())) > 1:
        collapse_count = _began(await _raw(http, database, device, span, "collapse"))
    if energy is None:
        energy = _counted(await _raw(http, database, device, span, "energy_j"))
    return Usage(
        first_ns=round(first_s * 1000) * MS,
        last_ns=round(last_s * 1000) * MS,
        sample_count=round(count),
        power_w=power_w,
        temp_c=temp_c,
        temp_max_c=max(told.get(("temp_c", "max_over_time"), ()), default=None),
        rle=rle,
        rle_count=round(sum(told.get(("rle", "count_over_time"), ()))),
        collapse_ratio=collapse_ratio,
        collapse_count=None if collapse_ratio is None else collapse_count,
        throttled_ratio=throttled_ratio,
        energy_j=energy[0],
        energy_s=energy[1],
    )


def _mean(told: _Found, field: str) -> float | None:
    means, counts = told.get((field, "avg_over_time"), []), told.get((field, "count_over_time"), [])
    if len(means) == 1:
        return means[0]
    return sum(m * n for m, n in zip(means, counts, strict=True)) / sum(counts) if counts else None


def _growth(told: _Found, field: str) -> int:
    """Steps up, and one that had been taken before the first sample."""
    grown = told.get((field, "increase_prometheus"), [0.0])[0]
    return round(grown + told.get((field, "first_over_time"), [0.0])[0])


def _energy(told: _Found) -> tuple[float | None, float] | None:
    """(joules, seconds); None when only the samples can tell: the counter began anew, or has two series."""
    counts = told.get(("energy_j", "count_over_time"), [])
    if sum(counts) < 2:
        return None, 0.0
    if len(counts) > 1 or any(told["energy_j", "decreases_over_time"]):
        return None
    first_s, last_s = told["energy_j", "tfirst_over_time"][0], told["energy_j", "tlast_over_time"][0]
    return told["energy_j", "increase_prometheus"][0], round((last_s - first_s) * 1000) / 1000


async def _raw(
    http: VictoriaHttp, database: str, device: Device, span: Span, field: str
) -> list[tuple[int, float]]:
    """(UTC milliseconds, value) of every sample, oldest first."""
    which = selector(database, f"{device.kind}_{field}", node=device.node, device=device.device)
    found: dict[int, float] = {}
    async with aclosing(http.export(which, span[0], span[1] - 1)) as series:
        async for one in series:
            values = zip(one.timestamps, one.values, strict=True)
            found.update((time_ms, value) for time_ms, value in values if value is not None)
    return sorted(found.items())


def _began(samples: Sequence[tuple[int, float]]) -> int:
    values = [0.0, *(value for _, value in samples)]
    return sum(now > before for before, now in pairwise(values))


def _counted(samples: Sequence[tuple[int, float]]) -> tuple[float, float]:
    grown_j = sum(max(0.0, now - before) for (_, before), (_, now) in pairwise(samples))
    return grown_j, (samples[-1][0] - samples[0][0]) / 1000
