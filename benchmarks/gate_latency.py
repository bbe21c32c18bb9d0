"""From an event at the sensor to the decision on MQTT, at the load of a fleet.

    make bench NAME=gate-latency
    make bench NAME=gate-latency ARGS="--nodes 500 --incidents 300"

A real Mosquitto, `thermogate analytics` as a process of its own with its audit log on disk and signatures
on, and a fleet that samples at 1 Hz (simulated, gate_fleet.py). Two kinds of incident, each on a node of
its own: an XID that means a reboot, and the sample with which the third collapse begins. Measured is the time
from the stamp that the sensor's reading bears until the signed decision has arrived at a subscriber that
verifies it. Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.gate_fleet import (  # noqa: E402
    Fleet,
    client,
    collapsing,
    gate,
    keys_made,
    percentile,
    seconds,
    warm,
)
from tests.servers import mosquitto  # noqa: E402
from thermogate.core.admission import Admission  # noqa: E402
from thermogate.core.mqtt import MqttClient  # noqa: E402
from thermogate.core.signing import TrustedKeys  # noqa: E402
from thermogate.core.wire import gate_topic  # noqa: E402

_WARM_S = 8.0
_GAP_S = 0.2
_SETTINGS = (
    "analytics.modes.thermal=enforce",
    "analytics.modes.hardware=enforce",
    "analytics.breaker.fleet_share=1.0",
)


class Seen:
    """When each node's first decision of an incident arrived, verified."""

    def __init__(self, admission: Admission) -> None:
        self.at_ns: dict[str, int] = {}
        self._admission = admission

    async def listen(self, listener: MqttClient) -> None:
        while True:
            for message in await listener.receive(100):
                decision = self._admission.admit(message.topic, message.payload, time.time_ns())
                if decision.state in ("HOLD", "REPAIR"):
                    self.at_ns.setdefault(decision.target, time.time_ns())


async def _collapse(fleet: Fleet, node: str) -> int:
    """Two collapses and the beginning of the third; the stamp of the sample with which it begins."""
    for ailment in (warm, collapsing, warm, collapsing, warm):
        fleet.ailments[node] = ailment
        await asyncio.sleep(1.0)
    fleet.ailments[node] = collapsing
    fleet.mark(node)
    await asyncio.sleep(1.5)
    return fleet.marked_ns[node]


async def _run(args: argparse.Namespace, url: str, folder: Path) -> dict[str, object]:
    with gate(url, folder, *_SETTINGS) as process:
        trusted = folder / "gate" / "keys" / "trusted"
        await keys_made(trusted)
        seen = Seen(Admission(TrustedKeys.load(trusted)))
        async with (
            client(url, "fleet") as speaker,
            client(url, "listener", gate_topic("node", "+")) as listener,
        ):
            fleet = Fleet(speaker, args.nodes)
            await fleet.say_status()
            work = [asyncio.create_task(fleet.run()), asyncio.create_task(seen.listen(listener))]
            await asyncio.sleep(_WARM_S)
            used = _cpu_s(process.pid)
            began_s = time.monotonic()
            stamps = await _incidents(fleet, args.incidents)
            await asyncio.sleep(3.0)
            core = (_cpu_s(process.pid) - used) / (time.monotonic() - began_s)
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            rows = {kind: _row(seen, found) for kind, found in stamps.items()}
            every = _row(seen, {node: at_ns for found in stamps.values() for node, at_ns in found.items()})
            return {
                "nodes": args.nodes,
                **every,
                "by_kind": rows,
                "gate_cores": round(core, 3),
                "fleet_late_s": round(fleet.late_s, 3),
            }


async def _incidents(fleet: Fleet, count: int) -> dict[str, dict[str, int]]:
    """Stamps of every incident by kind and node."""
    stamps: dict[str, dict[str, int]] = {"xid": {}, "collapse": {}}
    pending: list[asyncio.Task[None]] = []

    async def collapse(node: str) -> None:
        stamps["collapse"][node] = await _collapse(fleet, node)

    for number in range(count):
        node = fleet.names[(number * 7919) % len(fleet.names)]
        if number % 2:
            stamps["xid"][node] = fleet.event(node, "xid", xid=79.0)
        else:
            pending.append(asyncio.create_task(collapse(node)))
        await asyncio.sleep(_GAP_S)
    await asyncio.gather(*pending)
    await asyncio.sleep(1.5)
    return stamps


def _row(seen: Seen, stamps: dict[str, int]) -> dict[str, object]:
    took = [seconds(seen.at_ns[node] - at_ns) * 1e3 for node, at_ns in stamps.items() if node in seen.at_ns]
    return {
        "incidents": len(stamps),
        "missing": len(stamps) - len(took),
        "p50_ms": round(percentile(took, 0.5), 1),
        "p99_ms": round(percentile(took, 0.99), 1),
        "most_ms": round(max(took, default=float("nan")), 1),
    }


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--incidents", type=int, default=300, help="no more than nodes")
    args = parser.parse_args()
    if args.incidents > args.nodes:
        raise SystemExit("an incident needs a node of its own")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        url = stack.enter_context(mosquitto(folder, extra="max_queued_messages 100000\n"))
        result = asyncio.run(_run(args, url, folder))
    rows = {**result["by_kind"], "all": result}  # type: ignore[dict-item]
    print(f"{'':<12}{'incidents':>10}{'missing':>9}{'p50':>10}{'p99':>10}{'most':>10}  ms")
    for kind, row in rows.items():
        times = "".join(f"{row[name]:>10}" for name in ("p50_ms", "p99_ms", "most_ms"))
        print(f"{kind:<12}{row['incidents']:>10}{row['missing']:>9}{times}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
