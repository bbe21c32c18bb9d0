"""What VictoriaMetrics says of itself at /metrics: its process, its flags, what it has dropped. Pure."""

import re

import msgspec

from thermogate.core.errors import StoreError

_SIMPLE = re.compile(r"^(vm_app_start_timestamp|vm_app_uptime_seconds) ([0-9.e+]+)$", re.MULTILINE)
_VERSION = re.compile(r'^vm_app_version\{.*short_version="([^"]*)"', re.MULTILINE)
_FLAG = re.compile(r'^flag\{name="([^"]+)", value="((?:[^"\\]|\\.)*)"', re.MULTILINE)
_DROPPED = re.compile(
    r'^(vm_rows_ignored_total\{reason="[^"]*"\}|vm_rows_invalid_total\{type="influx"\}'
    r"|vm_too_long_label_values_total|vm_metrics_with_dropped_labels_total"
    r"|vm_(?:hourly|daily)_series_limit_rows_dropped_total) ([0-9.e+]+)$",
    re.MULTILINE,
)
_DURATION = re.compile(r"([0-9.]+)(ms|[smhdwy]?)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}


class Reading(msgspec.Struct, frozen=True):
    """One look at a server: `started_s` (UTC, whole seconds) tells its processes apart, `dropped` counts
    what it has thrown away since then though it had answered 204."""

    started_s: float
    uptime_s: float
    dropped: dict[str, float]


def reading(text: str) -> Reading:
    """Raises StoreError when the text is not that of a single-node VictoriaMetrics."""
    simple = dict(_SIMPLE.findall(text))
    dropped = {name: float(number) for name, number in _DROPPED.findall(text)}
    if len(simple) < 2 or not any(name.startswith("vm_rows_ignored_total") for name in dropped):
        raise StoreError(
            "/metrics is not that of a single-node VictoriaMetrics"
            ' (for InfluxDB set collector.store = "influx" and collector.influx.url)'
        )
    return Reading(float(simple["vm_app_start_timestamp"]), float(simple["vm_app_uptime_seconds"]), dropped)


def grown(before: Reading, now: Reading) -> dict[str, int]:
    """What the same process has dropped between two readings."""
    if before.started_s != now.started_s:
        return {}
    counts = {name: round(count - before.dropped.get(name, 0)) for name, count in now.dropped.items()}
    return {name: count for name, count in counts.items() if count > 0}


def version(text: str) -> str:
    """Such as "v1.79.5"; "" of builds that do not say, as Debian's."""
    found = _VERSION.search(text)
    return found[1] if found else ""


def flags(text: str) -> dict[str, str]:
    """Every command-line flag with its value, given or not."""
    return dict(_FLAG.findall(text))


def retention_s(flags: dict[str, str]) -> float:
    """-retentionPeriod, a number without unit being months. Raises StoreError when it is not told."""
    text = flags.get("retentionPeriod", "")
    found = _DURATION.fullmatch(text)
    if found is None:
        raise StoreError(f"the server does not tell its -retentionPeriod: {text!r}")
    return float(found[1]) * (_UNIT_S[found[2]] if found[2] else 31 * 86_400.0)


def duration_s(text: str) -> float | None:
    """A duration as flags are given, "1ms", "1m0s", "0s"; None when it is none."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNIT_S.get(unit, 1.0) for number, unit in parts)
