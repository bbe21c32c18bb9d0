"""What analytics cost: processor time a message and memory a node, for deciding about a fleet at 1 Hz.

    make bench NAME=gate
    make bench NAME=gate ARGS="--nodes 400 --seconds 120"

Messages of nodes with 8 GPUs and 2 CPUs, every field of the schema (node_messages.py), from the bytes to the
decision, without the broker. Memory is what the process has grown by. Prints a table and, as the last line,
one JSON object.
"""

import argparse
import gc
import json
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.node_messages import messages  # noqa: E402
from thermogate.analytics.config import AnalyticsSettings  # noqa: E402
from thermogate.analytics.engine import Engine  # noqa: E402
from thermogate.analytics.subscriber import Telemetry, understand  # noqa: E402
from thermogate.core.clock import NS, SystemClock  # noqa: E402
from thermogate.core.mqtt import Message  # noqa: E402
from thermogate.core.wire import format_header, node_topic  # noqa: E402


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _message(name: str, second: int, lines: bytes) -> Message:
    payload = format_header(name, "3f2a", second) + lines
    return Message(node_topic(name, "telemetry"), payload, False, 1, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument(
        "--seconds", type=int, default=90, help="at least the 60 s that the policy looks back"
    )
    args = parser.parse_args()
    settings = AnalyticsSettings()
    engine = Engine(settings, SystemClock())
    begin_ns = time.time_ns() - args.seconds * NS
    streams = {f"n{n}": messages(f"n{n}", begin_ns, args.seconds, seed=n) for n in range(args.nodes)}
    one = {name: next(stream) for name, stream in streams.items()}
    gc.collect()
    before, spent_s, decisions = rss_bytes(), 0.0, 0
    for second in range(1, args.seconds):
        batch = [
            Message(
                node_topic(name, "telemetry"), format_header(name, "3f2a", second) + one[name], False, 1, 1, 1
            )
            for name in streams
        ]
        began_s = time.process_time()
        for message in batch:
            said = understand(message)
            assert isinstance(said, Telemetry)
            engine.on_points(*said)
            decisions += len(engine.take().decided)
        spent_s += time.process_time() - began_s
        one = {name: next(stream) for name, stream in streams.items()}
    gc.collect()
    row = {
        "nodes": args.nodes,
        "us_a_message": round(spent_s / (args.nodes * (args.seconds - 1)) * 1e6, 1),
        "kib_a_node": round((rss_bytes() - before) / args.nodes / 1024, 1),
        "decisions": decisions,
    }
    for name, value in row.items():
        print(f"{name:<14}{value:>12,}")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
