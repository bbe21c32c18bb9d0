"""Noise and spoilt messages into the ingest of a collector, over real stores, for as long as you like.

    make bench NAME=fuzz                                    a minute over DuckDB, a minute over InfluxDB
    make bench NAME=fuzz ARGS="--seconds 600 --seed 7 --store influx"

Every batch is looked at (tests/fuzzing.py): no crash; nothing of a node on whose topics nothing came; no
value or stamp that some store cannot hold; every message stored, refused or dropped, and counted. In the
end the store is asked for its series. What fails is printed with the seed and the number of its batch, and
is done again by both. Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from tests import servers  # noqa: E402
from tests.fuzzing import Fuzzed  # noqa: E402
from tests.mutations import Said, mutated  # noqa: E402
from thermogate.collector.config import EmbeddedSettings, InfluxSettings  # noqa: E402
from thermogate.collector.store.base import Store  # noqa: E402
from thermogate.collector.store.embedded import EmbeddedStore  # noqa: E402
from thermogate.collector.store.influx import InfluxStore  # noqa: E402
from thermogate.core.clock import SystemClock  # noqa: E402
from thermogate.core.schema import MEASUREMENTS  # noqa: E402

_SAID_EVERY_S = 20.0


async def fuzz(store: Store, folder: Path, seconds: float, seed: int) -> Fuzzed:
    """Feed it for that long. Raises SystemExit with what a person needs to see it again."""
    rng = random.Random(seed)
    end_s = said_s = time.monotonic()
    end_s += seconds
    batch = 0
    async with store:
        fuzzed = Fuzzed(store, folder)
        while time.monotonic() < end_s:
            messages = [mutated(rng) for _ in range(rng.randint(1, 50))]
            try:
                await fuzzed.feed(messages)
            except BaseException as err:
                raise SystemExit(_told(err, messages, folder, f"--seed {seed}, batch {batch}")) from err
            batch += 1
            if time.monotonic() - said_s > _SAID_EVERY_S:
                said_s = time.monotonic()
                print(f"  {fuzzed.seen['messages']:,} messages", flush=True)
    return fuzzed


def _told(err: BaseException, messages: list[Said], folder: Path, where: str) -> str:
    kept = Path(tempfile.gettempdir()) / f"fuzz-{folder.name}.txt"
    kept.write_text("\n".join(map(repr, messages)), encoding="utf-8")
    return f"FAILED at {where}: {type(err).__name__}: {err}\nthe messages are in {kept}"


def influx_series(url: str) -> set[str]:
    """Measurement and tags of every series of telemetry in InfluxDB."""
    measurements = "|".join(MEASUREMENTS)
    asked = urllib.parse.urlencode(
        {"db": InfluxSettings().database, "q": f"show series from /^({measurements})$/"}
    )
    with urllib.request.urlopen(f"{url}/query?{asked}", timeout=60) as answer:
        results = json.load(answer)["results"]
    return {row[0] for result in results for one in result.get("series", ()) for row in one["values"]}


def foreign(found: set[str], fuzzed: Fuzzed) -> set[str]:
    """Series that the store has and the ingest has not let through."""
    known = set()
    for measurement, node, device, model, origin in fuzzed.series:
        tags = {"device": device, "model": model, "node": node, "origin": origin}
        known.add(",".join([measurement, *(f"{key}={value}" for key, value in tags.items() if value)]))
    return found - known


def _row(name: str, fuzzed: Fuzzed, series: int, seconds: float) -> dict[str, Any]:
    seen: Counter[str] = fuzzed.seen
    refused = sum(seen[kind] for kind in ("quarantined", "withheld", "throttled", "quarantine_errors"))
    return {
        "store": name,
        "seconds": round(seconds),
        "messages": seen["messages"],
        "stored": seen["messages"] - refused,
        "quarantined": seen["quarantined"],
        "withheld": seen["withheld"],
        "throttled": seen["throttled"],
        "series": series,
        "nodes": len({one[1] for one in fuzzed.series}),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0, help="with each store")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--store", choices=("embedded", "influx", "all"), default="all")
    args = parser.parse_args()
    print(f"seed {args.seed}")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.store != "influx":
            embedded = EmbeddedStore(folder, EmbeddedSettings(), SystemClock())
            fuzzed = asyncio.run(fuzz(embedded, folder, args.seconds, args.seed))
            rows.append(_row("embedded", fuzzed, len(fuzzed.series), args.seconds))
        if args.store != "embedded":
            with servers.influxdb(folder) as url:
                store = InfluxStore(InfluxSettings(url=url), SystemClock())
                fuzzed = asyncio.run(fuzz(store, folder / "influx", args.seconds, args.seed))
                found = influx_series(url)
            if strange := foreign(found, fuzzed):
                raise SystemExit(f"FAILED with --seed {args.seed}: foreign series {sorted(strange)[:5]}")
            rows.append(_row("influx", fuzzed, len(found), args.seconds))
    columns = list(rows[0])
    print("  ".join(f"{column:>11}" for column in columns))
    for row in rows:
        print("  ".join(f"{row[column]!s:>11}" for column in columns))
    print(json.dumps({"seed": args.seed, "stores": rows, "crashes": 0, "foreign_series": 0}))


if __name__ == "__main__":
    main()
