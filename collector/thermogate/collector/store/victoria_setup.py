"""Whether a VictoriaMetrics was started as thermogate needs it. Nothing of it can be set over HTTP."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from thermogate.collector.config import RetentionSettings, VictoriaSettings
from thermogate.collector.store import victoria_server
from thermogate.collector.store.setting_up import Step
from thermogate.collector.store.victoria_http import VictoriaHttp
from thermogate.collector.store.victoria_text import LABEL_BYTES, LABELS_BYTES
from thermogate.core.errors import StoreError

_LABELS = 6 + LABELS_BYTES // LABEL_BYTES
"""db, node, device_kind, device, event, and a message in pieces, of which none is cut within a character."""
_DEVICES_A_NODE = 8
_NODES = 20_000
"""The largest fleet that thermogate is made for."""

Flags = Mapping[str, str]
_Check = Callable[[Flags], str]
"""What is wrong with the flags; "" when nothing is."""


async def setup(settings: VictoriaSettings, retention: RetentionSettings) -> AsyncIterator[Step]:
    """Who answers, and each flag that differs from what is needed. Raises StoreError."""
    async with VictoriaHttp(settings) as http:
        text = await http.metrics()
        try:
            victoria_server.reading(text)
        except StoreError as err:
            raise StoreError(f"{settings.url}: {err}") from err
        await http.instant("1", 0)  # /metrics answers without a user, questions do not
    name = f"VictoriaMetrics {victoria_server.version(text)}".strip()
    yield Step("there", f"{name} at {settings.url}")
    wrong = list(lacking(victoria_server.flags(text), settings, retention))
    for said in wrong:
        yield Step("left", f"{said} (systemd/victoriametrics has the flags)")
    if not wrong:
        yield Step("there", "flags: duplicates, retention, names, limits, who may connect")


def lacking(flags: Flags, settings: VictoriaSettings, retention: RetentionSettings) -> Iterator[str]:
    """A sentence for each thing that is not as it has to be, the gravest first."""
    checks: tuple[_Check, ...] = (
        duplicates,
        _names,
        lambda given: _kept(given, retention),
        _labels,
        lambda given: _settling(given, settings),
        _devices,
        _open_to_all,
    )
    yield from filter(None, (check(flags) for check in checks))


def duplicates(flags: Flags) -> str:
    """Without it every sample that is sent again counts twice; with more, distinct ones are dropped."""
    interval_s = victoria_server.duration_s(flags.get("dedup.minScrapeInterval", "0s"))
    if interval_s == 0.001:
        return ""
    given = flags.get("dedup.minScrapeInterval", "0s")
    return f"-dedup.minScrapeInterval is {given}: 1ms lets each sample count once"


def _names(flags: Flags) -> str:
    wanted = {
        "influxMeasurementFieldSeparator": "_",
        "influxSkipSingleField": "false",
        "influxSkipMeasurement": "false",
        "influxDBLabel": "db",
        "influxTrimTimestamp": "1ms",
    }
    given = (f"-{name} is {flags[name]}" for name, value in wanted.items() if flags.get(name, value) != value)
    said = ", ".join(given)
    return f"{said}: metrics have other names or stamps than are asked for" if said else ""


def _kept(flags: Flags, retention: RetentionSettings) -> str:
    days = victoria_server.retention_s(dict(flags)) / 86_400
    if days >= retention.raw_days:
        return ""
    return f"-retentionPeriod is {days:g} d, collector.retention.raw_days {retention.raw_days:g}"


def _labels(flags: Flags) -> str:
    length = int(flags.get("maxLabelValueLen", LABEL_BYTES))
    count = int(flags.get("maxLabelsPerTimeseries", _LABELS))
    if length >= LABEL_BYTES and count >= _LABELS:
        return ""
    return (
        f"-maxLabelValueLen is {length} and -maxLabelsPerTimeseries {count}:"
        f" events need {LABEL_BYTES} and {_LABELS}"
    )


def _settling(flags: Flags, settings: VictoriaSettings) -> str:
    flush_s = victoria_server.duration_s(flags.get("inmemoryDataFlushInterval", "5s")) or 0.0
    if settings.settle_s > 2 * flush_s + 1:
        return ""
    return (
        f"victoria.settle_s is {settings.settle_s:g}, while what the server takes is on disk after up to"
        f" {2 * flush_s + 1:g} s"
    )


def _devices(flags: Flags) -> str:
    most = int(flags.get("search.maxSeries", _NODES * _DEVICES_A_NODE))
    if most >= _NODES * _DEVICES_A_NODE:
        return ""
    return f"-search.maxSeries is {most}: enough for {most // _DEVICES_A_NODE} nodes of 8 GPUs"


def _open_to_all(flags: Flags) -> str:
    address = flags.get("httpListenAddr", "")
    loopback = address.startswith(("127.", "localhost:", "[::1]:"))
    if not address or loopback or flags.get("httpAuth.username"):
        return ""
    return f"-httpListenAddr is {address} without -httpAuth.username: whoever can connect may delete"
