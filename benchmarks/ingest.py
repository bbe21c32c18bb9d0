"""How much of what a database can take comes through broker and collector, and what a fleet at 1 Hz costs.

    make bench NAME=ingest                               everything, about five minutes
    make bench NAME=ingest ARGS="--only influx --messages 10000"

For each database: the same bytes are written into it directly (1000 messages a write, two connections,
nothing compressed, as the collector does), and then, into an empty one, published through a real Mosquitto
to a real `thermogate collector`, as fast as the broker takes them. `ratio` is the one rate divided by the
other; all of it runs side by side on this machine, and nothing is rolled up. `paced` is a fleet on a clock,
into InfluxDB, rollups included, with a connection for each node: the delay is from the stamp of a message
until its node has heard that it is stored. `paced_victoria` is the same into VictoriaMetrics, but for the
delay, as nodes hear of it when it has settled.

Where the collector's processor time goes: `receiving` is its thread at the broker, by the kernel's count;
`part_...` are of its first thread in a shorter run under cProfile, which slows Python down and built-in
functions hardly. A table for people; the last line is one JSON object for programs. Samples are simulated
(ingest_messages.py).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks import ingest_path  # noqa: E402
from benchmarks.ingest_messages import Fleet, Form  # noqa: E402
from benchmarks.ingest_raw import write_raw  # noqa: E402
from thermogate.core.clock import NS  # noqa: E402

NODES = 2000
NO_ROLLUPS = "collector.rollup.enabled=false"
"""What is published at once is of the past, and would be rolled up; what goes in directly is not."""


def through(database: ingest_path.Database, messages: int, form: Form, *, profile: bool) -> dict[str, float]:
    """Everything published at once; ends when the collector has stored it."""
    seconds = max(1, messages // NODES)
    with (
        tempfile.TemporaryDirectory() as folder,
        ingest_path.path(Path(folder), database, NO_ROLLUPS, profile=profile) as path,
    ):
        fleet = path.publishers("fast", NODES, seconds, form)
        lines = Fleet(1, form).lines * NODES * seconds
        path.begin(fleet)
        began_s, cpu_s = time.monotonic(), path.cpu_s()
        path.until_stored(lines)
        took_s = time.monotonic() - began_s
        spent = {name: after - cpu_s[name] for name, after in path.cpu_s().items()}
        published = path.result(fleet)
        found = _costs(spent, published, NODES * seconds)
        found |= {"collector_msgs_per_s": NODES * seconds / took_s, "collector_rss_mib": path.rss_mib}
        path.stop()
        return found | path.parts_us(NODES * seconds)


def paced(name: str, nodes: int, seconds: int, form: Form) -> dict[str, float]:
    """A fleet at 1 Hz; also how far the store was behind when the last message was published."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ingest_path.path(Path(folder), ingest_path.databases()[name]) as path,
    ):
        fleet = path.publishers("paced", nodes, seconds, form)
        lines = Fleet(1, form).lines * nodes * seconds
        path.begin(fleet)
        cpu_s = path.cpu_s()
        time.sleep(seconds)
        behind = 1 - path.stored() / lines
        published = path.result(fleet)
        path.until_stored(lines)
        spent = {name: after - cpu_s[name] for name, after in path.cpu_s().items()}
        found = {"nodes": nodes, "seconds": seconds, "behind_s": max(0.0, behind * seconds)}
        if name == "influx":  # another one acknowledges long after it has stored
            chosen = ("took_s", "asked", "never_answered", "stored_median_s", "stored_p99_s", "stored_max_s")
            found |= {name: published[name] for name in chosen}
        found |= _costs(spent, published, nodes * seconds)
        return found | {"collector_rss_mib": path.rss_mib}


def _costs(spent_s: dict[str, float], published: dict[str, float], count: int) -> dict[str, float]:
    return {
        "cpu_us_per_msg": 1e6 * spent_s["collector"] / count,
        "receiving_us_per_msg": 1e6 * spent_s["receiving"] / count,
        "broker_us_per_msg": 1e6 * spent_s["broker"] / count,
        "database_us_per_msg": 1e6 * spent_s["database"] / count,
        "publishers_us_per_msg": 1e6 * published["cpu_s"] / count,
    }


def compare(name: str, messages: int, form: Form, *, profile: bool) -> dict[str, float]:
    """Both rates of one database, one after the other."""
    database = ingest_path.databases()[name]
    fleet = Fleet(NODES, form, time.time_ns() - messages // NODES * NS)
    payloads = [
        fleet.payload(node, second) for second in range(max(1, messages // NODES)) for node in range(NODES)
    ]
    with tempfile.TemporaryDirectory() as folder, database.start(Path(folder)) as url:
        raw = write_raw(url, payloads)
    found = {"raw_msgs_per_s": raw, **through(database, messages, form, profile=False)}
    found["ratio"] = found["collector_msgs_per_s"] / raw
    found["message_bytes"] = sum(map(len, payloads)) / len(payloads)
    if profile:
        parts = through(database, min(messages, 10 * NODES), form, profile=True)
        found |= {name: value for name, value in parts.items() if name.startswith("part_")}
    return found


def _print(title: str, found: dict[str, float]) -> None:
    print(title)
    for name, value in found.items():
        print(f"  {name:28} {value:12,.3f}")
    print(flush=True)


def main() -> None:
    """Run what is asked for and print."""
    paces = {"paced": "influx", "paced_victoria": "victoria"}
    known = [*ingest_path.databases(), *paces]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=known, action="append", help="only this; may be given again")
    parser.add_argument("--messages", type=int, default=60_000, help="for each database")
    parser.add_argument("--form", choices=("reference", "full"), default="reference", help="of a message")
    parser.add_argument("--nodes", type=int, default=NODES, help="paced")
    parser.add_argument("--seconds", type=int, default=60, help="paced")
    parser.add_argument("--no-profile", action="store_true", help="not where the time goes")
    args = parser.parse_args()
    form = cast("Form", args.form)
    found: dict[str, Any] = {}
    for name in args.only or known:
        if name in paces:
            found[name] = paced(paces[name], args.nodes, args.seconds, form)
        else:
            found[name] = compare(name, args.messages, form, profile=not args.no_profile)
        _print(f"{name}, {form} form", found[name])
    print(json.dumps({part: {n: round(v, 4) for n, v in each.items()} for part, each in found.items()}))


if __name__ == "__main__":
    main()
