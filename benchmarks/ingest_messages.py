"""What a fleet publishes: telemetry messages of many nodes, made before anything is timed. Simulated.

Two forms. `reference` is the small one in which brokers and databases are usually compared: 9 lines (8 GPUs
and the processors) of 14 fields, 2.4 kB. `full` is what our agents send with every field there, 7.6 kB.
Values come from node_messages.py, so that they have the digits of real sensors.
"""

import time
from collections.abc import Iterator
from typing import Literal

from benchmarks.node_messages import messages
from thermogate.core.clock import NS
from thermogate.core.schema import INTEGER_FIELDS
from thermogate.core.wire import format_header, format_line, parse_points

Form = Literal["reference", "full"]
_VARIANTS = 64
"""Different seconds that are dealt out to nodes."""
_FIELDS = 14
_NODE, _STAMP = "NODENAME", 1_000_000_000_000_000_001
_SPOOL = "ab12cd34"


class Fleet:
    """Messages of `nodes` nodes; `payload(n, second, ack)` is that of node n."""

    def __init__(self, nodes: int, form: Form, start_ns: int | None = None) -> None:
        self.nodes = nodes
        self.start_ns = time.time_ns() if start_ns is None else start_ns
        self._names = [f"n{n:05}" for n in range(nodes)]
        self._bodies = list(_bodies(form))
        self.lines = self._bodies[0].count(b"\n")

    def topic(self, node: int, leaf: str = "telemetry") -> str:
        """Where a node publishes."""
        return f"thermogate/v1/node/{self._names[node]}/{leaf}"

    def payload(self, node: int, second: int, stamp_ns: int | None = None, *, ack: bool = False) -> bytes:
        """Header and lines of one node at one second; the stamp is that second's unless it is given."""
        stamp = self.start_ns + second * NS + node if stamp_ns is None else stamp_ns
        body = self._bodies[(node * 7 + second) % _VARIANTS]
        lines = body.replace(_NODE.encode(), self._names[node].encode()).replace(
            b"%d" % _STAMP, b"%d" % stamp
        )
        return format_header(self._names[node], _SPOOL, second + 1, ack=ack) + lines


def _bodies(form: Form) -> Iterator[bytes]:
    for body in messages(_NODE, _STAMP, _VARIANTS):
        points = parse_points(body)
        chosen = [one for one in points if (one.measurement, one.device) != ("cpu", "1") and one.device]
        lines = []
        for one in points if form == "full" else chosen:
            fields = {name: _typed(name, value) for name, value in one.fields.items()}
            if form == "reference":
                fields = {name: round(value, 2) for name, value in list(fields.items())[:_FIELDS]}
            model = one.model if form == "full" else "H100"
            lines.append(format_line(one.measurement, one.node, one.device, model, None, fields, _STAMP))
        yield "".join(lines).encode()


def _typed(name: str, value: float) -> float:
    return int(value) if name in INTEGER_FIELDS else value
