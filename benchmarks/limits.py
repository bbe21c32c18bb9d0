"""What it costs the collector to look at a message: its rate, its form, and what it may bring into a store.

    make bench NAME=limits

Messages of a node with 8 GPUs and 2 CPUs, every field of the schema (node_messages.py). Microseconds of
processor time a message, the best of several rounds. Prints a table and, as the last line, one JSON object.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.node_messages import messages  # noqa: E402
from thermogate.collector import layout  # noqa: E402
from thermogate.collector.checking import Checked, check  # noqa: E402
from thermogate.collector.config import CollectorSettings  # noqa: E402
from thermogate.collector.flood import Flood  # noqa: E402
from thermogate.collector.limits import Limits  # noqa: E402
from thermogate.core.mqtt import Message  # noqa: E402
from thermogate.core.wire import format_header, node_topic  # noqa: E402

COUNT, ROUNDS = 300, 15
NODE = "n17"


def best_us(work: Callable[[Checked], object], items: list[Checked]) -> float:
    """Of a call."""
    found = []
    for _ in range(ROUNDS):
        began_s = time.process_time()
        for item in items:
            work(item)
        found.append(time.process_time() - began_s)
    return min(found) / len(items) * 1e6


def main() -> None:
    now_ns = time.time_ns()
    topic = node_topic(NODE, "telemetry")
    payloads = [
        format_header(NODE, "3f2a", seq) + body for seq, body in enumerate(messages(NODE, now_ns, COUNT))
    ]
    items = [check(Message(topic, payload, False, 1, 1, 1)) for payload in payloads]
    settings = CollectorSettings()
    limits = Limits(settings.limits, settings.retention.raw_days)
    flood, clock_s = Flood(settings.limits), [0.0]

    def admit(_: Checked) -> bool:
        clock_s[0] += 0.01
        return flood.admits(topic, clock_s[0])

    rows = {
        "rate_us": best_us(admit, items),
        "form_us": best_us(lambda item: check(item.message), items),
        "limits_us": best_us(lambda item: limits.inspect(item, now_ns), items),
        "line_by_line_us": best_us(lambda item: layout.content(item.message.payload), items),
    }
    size = sum(map(len, payloads)) / len(payloads)
    print(f"{size:,.0f} bytes a message")
    for name, value in rows.items():
        print(f"{name:<16} {value:8.2f}")
    print(json.dumps({"bytes": round(size), **{name: round(value, 2) for name, value in rows.items()}}))


if __name__ == "__main__":
    main()
