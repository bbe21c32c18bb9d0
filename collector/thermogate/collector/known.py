"""Payloads that are as one before them but for their numbers, told by one look. Times come from the caller.

`wire.check_telemetry` and `limits` look at every byte twice. An agent sends the same series and fields
every second: a pattern with their very names is exact, and takes half the time. What does not fit it is
looked at as if there were no pattern.
"""

import re
from typing import NamedTuple

from thermogate.core.schema import VERSION
from thermogate.core.wire import MAX_PAYLOAD_BYTES

_FLOAT = rb"=-?(?:[0-9]{1,18}+\.[0-9]{1,20}+|[0-9](?:\.[0-9]{1,20}+)?+e-[0-9]{1,3}+)"
_INTEGER = rb"=-?[0-9]{1,18}+i"
_HEADER = (
    rb"# "
    + VERSION.encode()
    + rb" node=([A-Za-z0-9._-]{1,128}+) spool=([0-9a-f]{1,32}) seq=([0-9]{1,18})( ack)?\n"
)
_STAMP, _SAME_STAMP = rb" ([1-8][0-9]{18})\n", rb" \5\n"

_MAX_PATTERNS = 64
"""Of a fleet whose nodes are of a few kinds; some 100 kB each. When there are more, all are forgotten."""
_MAX_PLACES = 200_000
_OF_A_PLACE = 3
_FIRST_MISSES = 4
"""A payload that has come as often as this without a pattern gets one, then after twice as many, ..."""
_PAUSE_S = 1.0
"""Between two patterns that are made: each takes some 15 ms, and a node may invent as many as it likes."""

_Pattern = re.Pattern[bytes]
_Place = tuple[str, int]
"""A node, and how many lines."""


class Told(NamedTuple):
    """What a payload says of itself."""

    spool: str
    seq: int
    ack: bool
    time_ns: int


class Known:
    """`find`, and for what it does not know, once it has been found sound and within limits, `learn`."""

    def __init__(self) -> None:
        self._patterns: dict[bytes, _Pattern] = {}
        self._of: dict[_Place, tuple[_Pattern, ...]] = {}
        self._misses: dict[_Place, int] = {}
        self._next_s = 0.0

    def __len__(self) -> int:
        return len(self._patterns)

    def find(self, node: str, payload: bytes) -> Told | None:
        """None when it is not known to be sound. All its lines have one stamp, which may be any."""
        patterns = self._of.get((node, payload.count(b"\n")), ())
        for pattern in patterns if len(payload) <= MAX_PAYLOAD_BYTES else ():
            match = pattern.fullmatch(payload)
            if match is not None:
                name, spool, seq, ack, stamp = match.groups()
                if name.decode() != node:
                    return None
                return Told(spool.decode(), int(seq), ack is not None, int(stamp))
        return None

    def learn(self, node: str, payload: bytes, now_s: float) -> None:
        """This node may send such payloads."""
        place = (node, payload.count(b"\n"))
        misses = self._misses[place] = self._misses.get(place, 0) + 1
        if len(self._misses) > _MAX_PLACES:
            self._forget()
        if misses < _FIRST_MISSES or misses & (misses - 1):
            return
        pattern = self._pattern(_text(payload), now_s)
        if pattern is not None and pattern.fullmatch(payload) is not None:
            others = (one for one in self._of.get(place, ()) if one is not pattern)
            self._of[place] = (pattern, *others)[:_OF_A_PLACE]

    def _pattern(self, text: bytes, now_s: float) -> _Pattern | None:
        """None while none may be made."""
        pattern = self._patterns.get(text)
        if pattern is None and now_s >= self._next_s:
            self._next_s = now_s + _PAUSE_S
            if len(self._patterns) >= _MAX_PATTERNS:
                self._forget()
            pattern = self._patterns[text] = re.compile(text)
        return pattern

    def _forget(self) -> None:
        self._patterns, self._of, self._misses = {}, {}, {}


def _text(payload: bytes) -> bytes:
    """The pattern of a sound payload: its names, in their order, with any numbers of the same kinds."""
    parts, stamp = [_HEADER], _STAMP
    for line in payload.split(b"\n")[1:-1]:
        key, fields, _ = line.split(b" ")
        measurement, _, *tags = key.split(b",")
        parts += [measurement, rb",node=\1", *(b"," + re.escape(tag) for tag in tags), b" "]
        named = (pair.partition(b"=") for pair in fields.split(b","))
        parts += [
            b",".join(
                re.escape(name) + (_INTEGER if value[-1:] == b"i" else _FLOAT) for name, _, value in named
            )
        ]
        parts += [stamp]
        stamp = _SAME_STAMP
    return b"".join(parts)
