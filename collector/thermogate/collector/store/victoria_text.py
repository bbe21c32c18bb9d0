"""Text for and from VictoriaMetrics: lines of messages, selectors, series as samples and messages.

A metric is measurement_field (`gpu_temp_c`). The server stores numbers only, so a message stands as JSON
in the labels `json0`, `json1`, ... (`zip0`, ..., compressed, when it is long) of a series of its own,
which has one sample:

    event_told      labels node, device_kind, device, event; at the event's stamp
    decision_pace   labels kind, target; at issued_at_ns
    status_told     label node; at the time of writing. What changes with every renewal is left out and
                    stands, at the same time, in status_at_s, status_at_ns and status_depth, which have
                    no text: a status that only renews itself makes no new series. status_text tells
                    by number which text it was
    gate_issued_ms  labels kind, target; at the time of writing, which decision was written
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from thermogate.collector.store.victoria_http import Exported, Labels
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.errors import RejectedError, StoreError
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point

MS = 1_000_000
"""Nanoseconds of a millisecond, in which the server keeps stamps."""
LABEL_BYTES = 4000
"""Below the shortest -maxLabelValueLen that a version of the server has by itself (4 KiB), beyond which
it cuts a label off without a word."""
LABELS_BYTES = 24_000
"""Of all labels with text together: a series with more than 32 KiB of labels gets lost in the server's
index without a word (seen in 1.79.5)."""
_MAX_TEXT_BYTES = 1 << 20

_TAG_ESCAPE = re.compile(r"([,= \\])")
_BREAKS = re.compile(r"[\r\n]+")

T = TypeVar("T", bound=msgspec.Struct)


def event_line(event: Event) -> bytes:
    """Its JSON, nanoseconds included, is what makes the series: written again, it is the same one."""
    labels = {
        "node": event.node,
        "device_kind": event.device_kind,
        "device": event.device,
        "event": event.event,
    }
    return _line("event", labels | _texts(event), "told=1i", event.time_ns)


def decision_lines(decision: GateDecision, now_ms: int) -> bytes:
    """The decision, and for `gates` that it was written now."""
    labels = {"kind": decision.kind, "target": decision.target}
    issued_ns = decision.issued_at_ns
    return _line("decision", labels | _texts(decision), f"pace={decision.pace!r}", issued_ns) + _line(
        "gate", labels, f"issued_ms={issued_ns // MS}i", now_ms * MS
    )


def status_lines(status: Status, now_ms: int) -> bytes:
    """Stamped with the time of writing: the newest is the one written last."""
    labels = {"node": status.node}
    at_s, at_ns = divmod(status.time_ns, NS)
    fields = f"at_s={at_s}i,at_ns={at_ns}i,depth={status.spool_depth}i,text={text_number(status)}i"
    return _line("status", labels | _texts(_lasting(status)), "told=1i", now_ms * MS) + _line(
        "status", labels, fields, now_ms * MS
    )


def text_number(status: Status) -> int:
    """The same for statuses that differ in their time and depth only; 48 bits, which a double holds."""
    text = msgspec.json.encode(_lasting(status))
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest())


def _lasting(status: Status) -> Status:
    return msgspec.structs.replace(status, time_ns=0, spool_depth=0)


def selector(database: str, name: str, *matchers: str, **labels: str) -> str:
    """Series of one database by the name: exact, ending with "_" how it begins, with ")" an expression.

    An empty label matches series that lack it.
    """
    pattern = f"{name}.+" if name.endswith("_") else name
    its_name = f"__name__{'=~' if name.endswith(('_', ')')) else '='}{literal(pattern)}"
    return _selector(its_name, database, matchers, labels)


def of_field(database: str, kind: str, field: str, **labels: str) -> str:
    """Series of one database of a field, whatever the name that somebody asks for."""
    return _selector(f"__name__={literal(f'{kind}_{field}')}", database, (), labels)


def _selector(name: str, database: str, matchers: Iterable[str], labels: Mapping[str, str]) -> str:
    exact = (f"{label}={literal(value)}" for label, value in {"db": database, **labels}.items())
    return "{" + ",".join((name, *exact, *matchers)) + "}"


def one_of(label: str, values: Iterable[str]) -> str:
    """A matcher for any of some values."""
    return f"{label}=~{literal('|'.join(map(re.escape, values)))}"


def literal(text: str) -> str:
    """A string in MetricsQL."""
    return json.dumps(text, ensure_ascii=False)


def message(labels: Mapping[str, str], of: type[T]) -> T:
    """The message in the labels of its series. Raises StoreError."""
    try:
        if "zip0" in labels:
            packed = base64.b64decode(_joined(labels, "zip"))
            return msgspec.json.decode(zlib.decompressobj().decompress(packed, _MAX_TEXT_BYTES), type=of)
        return msgspec.json.decode(_joined(labels, "json"), type=of)
    except (msgspec.MsgspecError, ValueError, zlib.error) as err:
        raise StoreError(f"a stored {of.__name__} cannot be read: {err}") from err


def renewed(status: Status, at_s: float, at_ns: float, depth: float) -> Status:
    """The same text with the numbers of another time."""
    time_ns = int(at_s) * NS + int(at_ns)
    return msgspec.structs.replace(status, time_ns=time_ns, spool_depth=int(depth))


def points(measurement: str, exported: Iterable[Exported]) -> list[Point]:
    """Series of one measurement as samples, ordered by node, device and time."""
    rows: dict[tuple[str, str, str, str], dict[int, dict[str, float]]] = {}
    for one in exported:
        labels = one.metric
        field = labels["__name__"].removeprefix(f"{measurement}_")
        device = rows.setdefault(_identity(labels), {})
        for time_ms, value in zip(one.timestamps, one.values, strict=True):
            if value is not None:
                device.setdefault(time_ms, {})[field] = value
    found = [
        Point(measurement, *identity, fields, time_ms * MS)
        for identity, device in rows.items()
        for time_ms, fields in device.items()
    ]
    found.sort(key=lambda point: (point.node, point.device, point.time_ns))
    return found


def _identity(labels: Labels) -> tuple[str, str, str, str]:
    return labels["node"], labels.get("device", ""), labels.get("model", ""), labels.get("origin", "")


def _texts(message: msgspec.Struct) -> dict[str, str]:
    """The labels with a message. Raises RejectedError when it is too long for them."""
    name, text = "json", msgspec.json.encode(message)
    if len(text) > LABELS_BYTES:
        name, text = "zip", base64.b64encode(zlib.compress(text))
    if len(text) > LABELS_BYTES:
        what = f"a {type(message).__name__} of {len(text)} bytes, compressed,"
        raise RejectedError(f"{what} is longer than VictoriaMetrics can index", stored=False)
    return {f"{name}{number}": part for number, part in enumerate(_parts(text.decode()))}


def _joined(labels: Mapping[str, str], name: str) -> str:
    parts: list[str] = []
    while (part := labels.get(f"{name}{len(parts)}")) is not None:
        parts.append(part)
    return "".join(parts)


def _parts(text: str) -> Iterator[str]:
    """Pieces that fit a label; no character is cut in two."""
    if len(text) <= LABEL_BYTES and text.isascii():
        yield text
        return
    size, begin = 0, 0
    for index, character in enumerate(text):
        size += len(character.encode())
        if size > LABEL_BYTES:
            yield text[begin:index]
            size, begin = len(character.encode()), index
    yield text[begin:]


def _line(measurement: str, labels: Mapping[str, str], fields: str, time_ns: int) -> bytes:
    key = "".join(f",{name}={_tag(value)}" for name, value in labels.items() if value)
    return f"{measurement}{key} {fields} {time_ns}\n".encode()


def _tag(value: str) -> str:
    """Escaped; a line break, which no tag may hold, would begin a line of somebody's choice."""
    return _TAG_ESCAPE.sub(r"\\\1", _BREAKS.sub(" ", value))
