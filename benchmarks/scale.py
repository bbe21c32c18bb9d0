"""The plan of docs/scale.md, computed from what was measured.

    make bench NAME=ingest ARGS="--form full --no-profile" | tail -1 > ingest.json
    make bench NAME=storage | tail -1 > storage.json
    make bench NAME=gate | tail -1 > gate.json
    make bench NAME=scale ARGS="--nodes 20000 --ingest ingest.json --storage storage.json --gate gate.json"

Every row is a product of the measured values that it names; docs/scale.md has the formulas. Costs are
printed for prices that are given. Prints a table and, as the last line, one JSON object.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from thermogate.agent.config import UplinkSettings
from thermogate.collector.config import CollectorSettings, RetentionSettings
from thermogate.core.wire import node_topic

_SEGMENT_BYTES = 1448
_SEGMENT_HEADERS_BYTES = 14 + 20 + 32 + 29
"""Ethernet, IP, TCP with stamps, and a TLS record's own."""
_PACKET_BYTES = 8
"""MQTT's own of a message: kind, length, length of the topic, number."""
_HOURS_A_MONTH = 730.5


class Row(NamedTuple):
    """A line of the plan."""

    name: str
    value: float
    unit: str
    formula: str


def on_the_wire(message_bytes: float) -> float:
    """Bytes of one delivery, headers included."""
    inside = message_bytes + len(node_topic("n" * 12, "telemetry")) + _PACKET_BYTES
    return inside + math.ceil(inside / _SEGMENT_BYTES) * _SEGMENT_HEADERS_BYTES


def traffic(nodes: int, ingest: dict[str, float], backlog: float) -> list[Row]:
    each = on_the_wire(ingest["message_bytes"]) * 8
    acks = nodes / CollectorSettings().ack_interval_s
    return [
        Row("messages", nodes, "/s", "nodes x 1 Hz"),
        Row("acknowledgements", acks, "/s", "nodes / collector.ack_interval_s"),
        Row("a node sends", each / 1e3, "kbit/s", "message on the wire x 8"),
        Row("into the brokers", nodes * each / 1e9, "Gbit/s", "nodes x message on the wire x 8"),
        Row("brokers to collectors", nodes * each / 1e9, "Gbit/s", "the same once"),
        Row("brokers to analytics", nodes * each / 1e9, "Gbit/s", "the same once, divided by the shards"),
        Row(
            "after an outage, at most",
            nodes * backlog * each / 1e9,
            "Gbit/s",
            "nodes x agent.uplink.backlog_per_s: what the network and the collectors take is less",
        ),
    ]


def machines(
    nodes: int, found: dict[str, dict[str, float]], gate: dict[str, float], busy: float
) -> list[Row]:
    rows = []
    for name, one in found.items():
        single = one["cpu_us_per_msg"] - one["receiving_us_per_msg"]
        rows += [
            Row(
                f"collectors, {name}",
                _ceil(nodes * single, busy),
                "processes",
                "nodes x collector's loop / busy",
            ),
            Row(
                f"their cores, {name}",
                _cores(nodes * one["cpu_us_per_msg"], busy),
                "cores",
                "nodes x collector",
            ),
            Row(
                f"database cores, {name}",
                _cores(nodes * one["database_us_per_msg"], busy),
                "cores",
                "nodes x database",
            ),
        ]
    broker = max(one["broker_us_per_msg"] for one in found.values())
    return [
        Row(
            "one broker process takes", busy * 1e6 / (2 * broker), "nodes", "busy / (2 x broker): two readers"
        ),
        Row("broker cores", _cores(2 * nodes * broker, busy), "cores", "2 x nodes x broker"),
        *rows,
        Row(
            "analytics shards", _ceil(nodes * gate["us_a_message"], busy), "processes", "nodes x gate / busy"
        ),
        Row("memory of all shards", nodes * gate["kib_a_node"] / 2**20, "GiB", "nodes x KiB a node"),
    ]


def disks(nodes: int, stores: list[dict[str, Any]]) -> list[Row]:
    kept = RetentionSettings()
    rows = []
    for one in stores:
        name = one["store"]
        if name == "embedded":
            continue  # it is for one machine
        raw = nodes * one["node_day_mb"] * kept.raw_days / 1e6
        rows.append(Row(f"samples, {name}", raw, "TB", "nodes x node and day x retention.raw_days"))
        rows.append(
            Row(f"a year of them, {name}", nodes * one["node_year_gb"] / 1e3, "TB", "nodes x node and year")
        )
        for resolution, days in (("1m", kept.minute_days), ("1h", kept.hour_days)):
            if f"node_year_{resolution}_mb" in one:
                size = nodes * one[f"node_year_{resolution}_mb"] * days / 365.25 / 1e6
                rows.append(
                    Row(f"windows of {resolution}, {name}", size, "TB", "nodes x node and year x their days")
                )
    return rows


def costs(rows: list[Row], cores: float | None, terabytes: float | None) -> list[Row]:
    """For prices that somebody gives; none are invented here."""
    found = []
    for row in rows:
        if row.unit == "cores" and cores is not None:
            found.append(
                Row(row.name, row.value * cores * _HOURS_A_MONTH, "a month", "cores x price x 730.5 h")
            )
        if row.unit == "TB" and terabytes is not None:
            found.append(Row(row.name, row.value * terabytes, "a month", "TB x price"))
    return found


def _cores(us_a_second: float, busy: float) -> float:
    return us_a_second / 1e6 / busy


def _ceil(us_a_second: float, busy: float) -> float:
    return math.ceil(_cores(us_a_second, busy))


def _last_line(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8").strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=20_000)
    parser.add_argument("--ingest", type=Path, required=True, help="output of the bench of that name")
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--gate", type=Path, required=True)
    parser.add_argument("--busy", type=float, default=0.5, help="share of a core to plan with (default 0.5)")
    parser.add_argument("--price-core-hour", type=float, help="of one core")
    parser.add_argument("--price-tb-month", type=float, help="of one TB of disk, replicas included")
    args = parser.parse_args()
    ingest, storage, gate = map(_last_line, (args.ingest, args.storage, args.gate))
    found = {name: one for name, one in ingest.items() if name != "paced"}
    rows = traffic(args.nodes, next(iter(found.values())), UplinkSettings().backlog_per_s)
    rows += machines(args.nodes, found, gate, args.busy)
    rows += disks(args.nodes, storage["stores"])
    rows += costs(rows, args.price_core_hour, args.price_tb_month)
    for row in rows:
        shown = f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.3g}"
        print(f"| {row.name} | {shown} {row.unit} | {row.formula} |")
    print(json.dumps({"nodes": args.nodes, "plan": [row._asdict() for row in rows]}))


if __name__ == "__main__":
    main()
