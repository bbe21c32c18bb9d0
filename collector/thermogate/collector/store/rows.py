"""Telemetry payloads as columns, in about 50 us for a message of 9 lines."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thermogate.core.errors import RejectedError

KEY = ("time_ns", "node", "device")
"""What makes a row of a measurement unique."""
TAGS = (*KEY, "model", "origin")
"""The columns before the fields."""

_MAX_NS = 2**63 - 1
_CACHED_DEVICES = 200_000

Identity = tuple[str, str, str]
"""Measurement, node, device."""
Columns = dict[str, NDArray[Any]]


class Tags(NamedTuple):
    """The part of a line before its first space."""

    identity: Identity
    model: str
    origin: str


class Row(NamedTuple):
    """One line of telemetry; `values` belong to `names` in order."""

    tags: Tags
    time_ns: int
    names: tuple[str, ...]
    values: list[float]


class RowParser:
    """Remembers the tags of every device, which are the same in each of its lines."""

    def __init__(self) -> None:
        self._tags: dict[str, Tags] = {}

    def parse(self, payloads: Iterable[bytes]) -> list[Row]:
        """Every line of payloads that `wire.check_telemetry` has passed, in order.

        Raises RejectedError for a stamp that no 64-bit clock shows.
        """
        rows = []
        for payload in payloads:
            for line in payload.decode("ascii").splitlines():
                if line[0] == "#":
                    continue
                key, fields, stamp = line.split(" ")
                # a name never ends before a comma, so "i," can only be the mark of an integer
                parts = fields.replace("i,", ",").removesuffix("i").replace("=", ",").split(",")
                tags = self._tags.get(key) or self._new_tags(key)
                rows.append(Row(tags, int(stamp), tuple(parts[::2]), list(map(float, parts[1::2]))))
        late = next((row for row in rows if row.time_ns > _MAX_NS), None)
        if late is not None:
            raise RejectedError(f"a stamp of {late.time_ns} ns is no time", stored=False)
        return rows

    def _new_tags(self, key: str) -> Tags:
        if len(self._tags) >= _CACHED_DEVICES:
            self._tags.clear()
        measurement, *pairs = key.split(",")
        tag = dict(pair.split("=") for pair in pairs)
        identity = (measurement, tag["node"], tag.get("device", ""))
        tags = self._tags[key] = Tags(identity, tag.get("model", ""), tag.get("origin", ""))
        return tags


def columns(rows: Sequence[Row]) -> Columns:
    """Rows of one measurement as a column for each tag and field; what a row lacks is masked.

    Raises RejectedError that names the field of a value beyond what a double holds.
    """
    table: Columns = {
        "time_ns": np.array([row.time_ns for row in rows], dtype=np.int64),
        "node": _text(row.tags.identity[1] for row in rows),
        "device": _text(row.tags.identity[2] for row in rows),
        "model": _text(row.tags.model for row in rows),
        "origin": _text(row.tags.origin for row in rows),
    }
    layouts: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        layouts[row.names].append(index)
    fields = {name: np.full(len(rows), np.nan) for names in layouts for name in names}
    for names, indices in layouts.items():
        matrix = np.array([rows[index].values for index in indices]).T
        for name, values in zip(names, matrix, strict=True):
            fields[name][indices] = values
    for name, values in fields.items():
        if np.isinf(values).any():
            raise RejectedError(f"field {name} is beyond what a double holds", stored=False)
        table[name] = np.ma.masked_array(values, np.isnan(values)) if len(layouts) > 1 else values
    return table


def field_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """Every field that occurs, each once."""
    return tuple(dict.fromkeys(name for names in {row.names: None for row in rows} for name in names))


def _text(values: Iterable[str]) -> NDArray[np.object_]:
    return np.array(list(values), dtype=object)
