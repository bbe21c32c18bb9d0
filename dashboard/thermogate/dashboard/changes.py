"""What of the fleet is told to a page: all of it once, and then what has changed. Pure.

Of 8,000 devices that sample once a second nearly every row changes every second, but few of its fields
do, and of those not in the figures that are shown.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from thermogate.dashboard.fleet import FleetRow

_FINE_BELOW_W = 100.0
"""Below this a tenth of a watt is told: an idle device has 20 W."""

FIELDS = (
    *("model", "origin", "state", "text", "live", "fingerprint", "gate", "assumed"),
    *("util_ratio", "temp_c", "temp_limit_c", "power_w", "power_limit_w", "rle", "t_sustain_s"),
    "time_ns",
)
"""Fields of a row that may change. The stamp of a live row is not told each second: its sample is of now."""

_Key = tuple[str, str, str]
_Shown = tuple[Any, ...]


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet, most urgent first. `ids` names each row for the changes that follow."""

    seq: int
    now_ns: int
    ids: tuple[int, ...]
    rows: tuple[FleetRow, ...]


class Changes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What has changed since the message before, whose `seq` is one less.

    `set` has, by field, the ids of rows and their new values; null is absent. `gone` are ids that are no
    more, `added` new rows with their `added_ids`.
    """

    seq: int
    now_ns: int
    set: dict[str, tuple[list[int], list[Any]]] = {}
    gone: tuple[int, ...] = ()
    added_ids: tuple[int, ...] = ()
    added: tuple[FleetRow, ...] = ()


class Told:
    """What pages have been told so far. An id is never given to another device."""

    def __init__(self) -> None:
        self._seq = 0
        self._now_ns = 0
        self._newest_ns = 0
        self._ids: dict[_Key, int] = {}
        self._next_id = 0
        self._shown: dict[int, _Shown] = {}
        self._rows: tuple[FleetRow, ...] = ()

    def update(self, rows: Sequence[FleetRow], now_ns: int, *, force: bool = False) -> Changes | None:
        """The changes that lead to these rows; None when there is no newer sample and no change.

        With `force` they may be empty. The first ones are, too: there is only the whole to tell.
        """
        columns: dict[str, tuple[list[int], list[Any]]] = {}
        added: list[FleetRow] = []
        shown: dict[int, _Shown] = {}
        for row in rows:
            key = (row.node, row.kind, row.device)
            number = self._ids.get(key)
            if number is None:
                number = self._ids[key] = self._next_id
                self._next_id += 1
            now = shown[number] = _shown(row)
            before = self._shown.get(number)
            if before is None:
                added.append(row)
            elif before != now:
                _note(columns, number, before, now)
        gone = tuple(self._shown.keys() - shown.keys())
        newest_ns = max((row.time_ns or 0 for row in rows), default=0)
        if not (force or columns or added or gone or newest_ns != self._newest_ns):
            return None
        if self._seq == 0:
            added = []
        self._seq += 1
        self._now_ns, self._newest_ns, self._shown, self._rows = now_ns, newest_ns, shown, tuple(rows)
        self._drop(gone)
        return Changes(
            seq=self._seq,
            now_ns=now_ns,
            set=columns,
            gone=gone,
            added_ids=tuple(map(self._id, added)),
            added=tuple(map(rounded, added)),
        )

    def whole(self) -> Whole:
        """The rows of the newest update."""
        ids = tuple(map(self._id, self._rows))
        return Whole(seq=self._seq, now_ns=self._now_ns, ids=ids, rows=tuple(map(rounded, self._rows)))

    def _id(self, row: FleetRow) -> int:
        return self._ids[row.node, row.kind, row.device]

    def _drop(self, gone: Iterable[int]) -> None:
        if gone:
            dropped = set(gone)
            self._ids = {key: number for key, number in self._ids.items() if number not in dropped}


def rounded(row: FleetRow) -> FleetRow:
    """The row with its values as they are told live."""
    shown = dict(zip(FIELDS, _shown(row), strict=True))
    del shown["time_ns"]
    return msgspec.structs.replace(row, **shown)


def _shown(row: FleetRow) -> _Shown:
    """The values of FIELDS, with as many decimals as a page shows: below is noise."""
    util, temp, power, rle, left = row.util_ratio, row.temp_c, row.power_w, row.rle, row.t_sustain_s
    return (
        row.model,
        row.origin,
        row.state,
        row.text,
        row.live,
        row.fingerprint,
        row.gate,
        row.assumed,
        None if util is None else round(util, 2),
        None if temp is None else round(temp, 1),
        row.temp_limit_c,
        None if power is None else round(power) if power >= _FINE_BELOW_W else round(power, 1),
        row.power_limit_w,
        None if rle is None else round(rle, 2),
        None if left is None else round(left),
        None if row.live else row.time_ns,
    )


def _note(columns: dict[str, tuple[list[int], list[Any]]], number: int, before: _Shown, now: _Shown) -> None:
    for name, old, new in zip(FIELDS, before, now, strict=True):
        if old is not new and old != new:
            numbers, values = columns.setdefault(name, ([], []))
            numbers.append(number)
            values.append(new)
