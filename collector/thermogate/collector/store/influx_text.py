"""Text for and from InfluxDB: lines of messages, names and literals in InfluxQL, rows as samples."""

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from thermogate.collector.store.influx_answers import Series
from thermogate.core.decision import GateDecision
from thermogate.core.errors import StoreError
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point

_TAGS = ("node", "device", "model", "origin")
_TAG_ESCAPE = re.compile(r"([,= ])")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BREAKS = re.compile(r"[\r\n]+")

T = TypeVar("T", bound=msgspec.Struct)


def event_line(event: Event) -> bytes:
    """Tags and stamp are what makes an event unique, so that writing it again changes nothing."""
    tags = {
        "node": event.node,
        "device_kind": event.device_kind,
        "device": event.device,
        "event": event.event,
    }
    return _line("event", tags, event, event.time_ns)


def decision_line(decision: GateDecision) -> bytes:
    """A target has one decision a nanosecond; its id as a tag would make a series of each."""
    return _line(
        "decision", {"kind": decision.kind, "target": decision.target}, decision, decision.issued_at_ns
    )


def status_line(status: Status, now_ns: int) -> bytes:
    """Stamped with the time of writing: the newest is the one written last."""
    return _line("status", {"node": status.node}, status, now_ns)


def identifier(name: str) -> str:
    """A field or measurement in InfluxQL."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def may_be_field(name: str) -> bool:
    """Whether a sample may have a field of this name. InfluxQL cannot even ask for some that none has."""
    return _FIELD.fullmatch(name) is not None and name != "time"


def literal(text: str) -> str:
    """A string in InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def any_of(names: Sequence[str]) -> str:
    """A regular expression in InfluxQL that only these tags fulfil."""
    return "/^(" + "|".join(re.escape(name).replace("/", "\\/") for name in names) + ")$/"


def points(series: Series) -> list[Point]:
    """The rows of `select * ... group by node, device` (or by less) as samples; null is absent."""
    columns = series.columns
    fields = [(i, name) for i, name in enumerate(columns) if name not in (*_TAGS, "time")]
    tags = {name: columns.index(name) for name in _TAGS if name in columns}
    found = []
    for row in series.values:
        given = {**series.tags, **{name: row[i] or "" for name, i in tags.items()}}
        found.append(
            Point(
                series.name,
                given.get("node") or "",
                given.get("device") or "",
                given.get("model") or "",
                given.get("origin") or "",
                {name: float(row[i]) for i, name in fields if row[i] is not None},
                row[0],
            )
        )
    return found


def messages(answer: Sequence[Series], of: type[T]) -> list[T]:
    """The column "json" or "last" of every row, decoded. Raises StoreError."""
    try:
        return [msgspec.json.decode(text, type=of) for text in _json_texts(answer)]
    except msgspec.MsgspecError as err:
        raise StoreError(f"a stored {of.__name__} cannot be read: {err}") from err


def _json_texts(answer: Sequence[Series]) -> Iterator[str]:
    for series in answer:
        index = next(i for i, name in enumerate(series.columns) if name in ("json", "last"))
        yield from (row[index] for row in series.values)


def _line(measurement: str, tags: dict[str, str], message: msgspec.Struct, time_ns: int) -> bytes:
    key = "".join(f",{name}={_tag(value)}" for name, value in tags.items() if value)
    text = msgspec.json.encode(message).decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'{measurement}{key} json="{text}" {time_ns}\n'.encode()


def _tag(value: str) -> str:
    """Escaped; a line break, which no tag may hold, would begin a line of somebody's choice."""
    return _TAG_ESCAPE.sub(r"\\\1", _BREAKS.sub(" ", value))
