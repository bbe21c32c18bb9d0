"""Which series, fields and types a telemetry payload has, found fast when it is as one before it. Pure.

Payloads are sound: `wire.check_telemetry` has passed them.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from thermogate.core.errors import WireError
from thermogate.core.schema import INTEGER_FIELDS, MEASUREMENTS

_VALUES = b"0123456789.-"
_NODE = re.compile(rb",node=[^, ]+")
_INTEGERS = frozenset(name.encode() for name in INTEGER_FIELDS)
_KNOWN: Final[Mapping[bytes, frozenset[bytes]]] = {
    name.encode(): frozenset(field.name.encode() for field in measurement.fields)
    for name, measurement in MEASUREMENTS.items()
}

Field = tuple[bytes, bytes]
"""Measurement, name."""


class Content(NamedTuple):
    """What is in a payload. `unknown` are fields that this version does not know.

    `plain` says that no name of those has a digit, which would not show in `signature`.
    """

    series: frozenset[bytes]
    stamps_ns: frozenset[int]
    unknown: frozenset[Field]
    plain: bool


def signature(payload: bytes) -> tuple[int, int]:
    """(a number for series, names and types, the last stamp).

    Of two payloads with one number, whose lines have one stamp each, the series are the same and the
    fields too but for digits in their names; an integer is in the place of an integer. A number with
    an exponent makes another one.
    """
    words = payload.split(b" ")
    stamp = words[-1]  # with its newline, as before every next line
    fields_at = 5 if b"\n" in words[4] else 6  # "ack" is a word of its own
    first = words[fields_at - 1].partition(b"\n")[2]
    others = b" ".join(words[fields_at + 1 : -1 : 2]).replace(stamp, b"")
    fields = b" ".join(words[fields_at::2]).translate(None, _VALUES)
    return hash((first, others, fields)), int(stamp)


def content(payload: bytes) -> Content:
    """Line by line. Raises WireError for a known field of another type than it has to be."""
    series, stamps, unknown = set(), set(), set()
    for line in payload.split(b"\n")[1:-1]:
        key, fields, stamp = line.split(b" ")
        series.add(_NODE.sub(b"", key, count=1))
        stamps.add(int(stamp))
        measurement = key[: key.index(b",")]
        known = _KNOWN[measurement]
        for pair in fields.split(b","):
            name, _, value = pair.partition(b"=")
            if name not in known:
                unknown.add((measurement, name))
            elif value.endswith(b"i") != (name in _INTEGERS):
                raise WireError(_of_other_type(measurement, name, value))
    plain = all(name.translate(None, _VALUES) == name for _, name in unknown)
    return Content(frozenset(series), frozenset(stamps), frozenset(unknown), plain)


def _of_other_type(measurement: bytes, name: bytes, value: bytes) -> str:
    """InfluxDB takes a field's type from the first point of a shard and refuses the other: one node
    would spoil a day of all."""
    wanted = "an integer" if name in _INTEGERS else "no integer"
    return f"{measurement.decode()} field {name.decode()} has to be {wanted}: {value[:40].decode()}"
