"""What `thermogate collector setup` makes in InfluxDB, and what a collector makes by itself in 1.x."""

import logging
from collections.abc import AsyncIterator
from functools import partial

from thermogate.collector.config import RetentionSettings
from thermogate.collector.store.influx_errors import SETUP
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW
from thermogate.collector.store.influx_setup_keep import DAY_S, HOUR_S, keep, seconds, told, wanted
from thermogate.collector.store.influx_setup_v2 import setup_v2
from thermogate.collector.store.influx_setup_v3 import require_database, setup_v3
from thermogate.collector.store.influx_text import identifier
from thermogate.collector.store.resolution import RESOLUTIONS
from thermogate.collector.store.setting_up import Step, Wish
from thermogate.core.errors import StoreError

log = logging.getLogger(__name__)

_POLICY = "autogen"
"""InfluxDB's own name of the retention policy that a database has from the start."""


async def setup(http: InfluxHttp, retention: RetentionSettings, wish: Wish) -> AsyncIterator[Step]:
    """Make what is missing and change what differs, a step at a time. Raises StoreError and ConfigError."""
    generation = (await http.known()).generation
    one = {"1": _setup_v1, "2": setup_v2, "3": setup_v3}[generation]
    async for step in one(http, wanted(retention), wish):
        yield step


async def make_missing(http: InfluxHttp, retention: RetentionSettings) -> bool:
    """What a collector does by itself: make what 1.x lacks. Returns whether its database was missing.

    Raises StoreError when there is none then. Without the right to make retention policies, it is said
    that there will be no rollups.
    """
    generation = (await http.known()).generation
    if generation == "3":
        await require_database(http)
    if generation != "1":
        return False
    ages_s = wanted(retention)
    made = await _database_v1(http, ages_s[RAW], Wish())
    try:
        policies = await _policies_v1(http)
        for resolution in RESOLUTIONS:
            if resolution not in policies:
                await http.query(_policy("CREATE", http, resolution, ages_s[resolution]))
    except StoreError as err:
        log.warning("no rollups: %s (run: %s)", err, SETUP)
    return made.did == "made"


async def _setup_v1(http: InfluxHttp, ages_s: dict[str, int], wish: Wish) -> AsyncIterator[Step]:
    database = await _database_v1(http, ages_s[RAW], wish)
    yield database
    policies = {} if wish.dry_run and database.did == "made" else await _policies_v1(http)
    default = next(iter(policies), _POLICY)
    for resolution, age_s in ages_s.items():
        if resolution == RAW and database.did == "made":
            continue
        name = default if resolution == RAW else resolution
        yield await keep(
            f"retention policy {name}",
            age_s,
            policies.get(name),
            partial(http.query, _policy("CREATE", http, name, age_s)),
            partial(http.query, _policy("ALTER", http, name, age_s)),
            wish,
        )


async def _database_v1(http: InfluxHttp, age_s: int, wish: Wish) -> Step:
    name = http.settings.database
    databases = await http.query("SHOW DATABASES")
    if name in [row[0] for series in databases for row in series.values]:
        return Step("there", f"database {name}")
    if not wish.dry_run:
        await http.query(f"CREATE DATABASE {identifier(name)} WITH DURATION {age_s // HOUR_S}h")
    return Step("made", f"database {name}, samples kept {told(age_s)}")


async def _policies_v1(http: InfluxHttp) -> dict[str, int]:
    """Seconds that each retention policy keeps, the default first."""
    answer = await http.query(f"SHOW RETENTION POLICIES ON {identifier(http.settings.database)}")
    rows = [dict(zip(series.columns, row, strict=True)) for series in answer for row in series.values]
    rows.sort(key=lambda row: not row["default"])
    return {row["name"]: seconds(row["duration"]) for row in rows}


def _policy(verb: str, http: InfluxHttp, name: str, age_s: int) -> str:
    """Shards as the server would choose them, but for years: 260 of a week each are slow to open."""
    shard_s = HOUR_S if age_s < 2 * DAY_S else DAY_S if age_s <= 180 * DAY_S else 7 * DAY_S
    if age_s >= 730 * DAY_S:
        shard_s = 28 * DAY_S
    replication = " REPLICATION 1" if verb == "CREATE" else ""
    return (
        f"{verb} RETENTION POLICY {identifier(name)} ON {identifier(http.settings.database)} "
        f"DURATION {age_s // HOUR_S}h{replication} SHARD DURATION {shard_s // HOUR_S}h"
    )
