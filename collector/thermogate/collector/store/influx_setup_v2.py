"""What `thermogate collector setup` makes in InfluxDB 2.x: buckets, and what InfluxQL calls each of them."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_places import RAW, place
from thermogate.collector.store.influx_setup_keep import keep
from thermogate.collector.store.setting_up import Step, Wish
from thermogate.core.errors import ConfigError, StoreError

_POLICY = "autogen"


async def setup_v2(http: InfluxHttp, ages_s: dict[str, int], wish: Wish) -> AsyncIterator[Step]:
    """A bucket and a DBRP mapping for each resolution. Raises ConfigError without the organisation."""
    org_id = await _org_id(http)
    for resolution, age_s in ages_s.items():
        name = place(http.settings, "2", resolution)
        bucket = await _bucket(http, name)
        rules = [{"type": "expire", "everySeconds": age_s}]
        new = {"orgID": org_id, "name": name, "retentionRules": rules}
        path = f"/api/v2/buckets/{bucket['id']}" if bucket else ""
        yield await keep(
            f"bucket {name}",
            age_s,
            None if bucket is None else _age_s(bucket),
            partial(http.json, "POST", "/api/v2/buckets", body=new),
            partial(http.json, "PATCH", path, body={"retentionRules": rules}),
            wish,
        )
        if bucket is None and not wish.dry_run:
            bucket = await _bucket(http, name)
            if bucket is None:
                raise StoreError(f"{http.settings.url}: bucket {name} was made and is not to be seen")
        yield await _map(http, org_id, _POLICY if resolution == RAW else resolution, bucket, wish)


async def _org_id(http: InfluxHttp) -> str:
    _, said = await http.json("GET", "/api/v2/orgs", {"org": http.settings.org})
    orgs = (said or {}).get("orgs") or []
    if not orgs:
        raise ConfigError(
            f"collector.influx.org: {http.settings.url} knows no organisation {http.settings.org!r}"
            " that the token may see"
        )
    return str(orgs[0]["id"])


async def _bucket(http: InfluxHttp, name: str) -> dict[str, Any] | None:
    _, said = await http.json("GET", "/api/v2/buckets", {"org": http.settings.org, "name": name})
    return next((one for one in (said or {}).get("buckets") or [] if one["name"] == name), None)


def _age_s(bucket: dict[str, Any]) -> int:
    rules = bucket.get("retentionRules") or []
    return next((int(rule["everySeconds"]) for rule in rules if rule.get("type", "expire") == "expire"), 0)


async def _map(http: InfluxHttp, org_id: str, policy: str, bucket: dict[str, Any] | None, wish: Wish) -> Step:
    """The mapping of a retention policy of InfluxQL to its bucket; that of the samples is the default."""
    database = http.settings.database
    what = f"mapping {database}/{policy}"
    _, said = await http.json("GET", "/api/v2/dbrps", {"orgID": org_id, "db": database, "rp": policy})
    found = [one for one in (said or {}).get("content") or [] if not one.get("virtual")]
    if found and bucket is not None:
        if found[0]["bucketID"] == bucket["id"]:
            return Step("there", what)
        return Step("left", f"{what} is of another bucket, {found[0]['bucketID']}: queries would read that")
    if not wish.dry_run and bucket is not None:
        new = {
            "orgID": org_id,
            "bucketID": bucket["id"],
            "database": database,
            "retention_policy": policy,
            "default": policy == _POLICY,
        }
        await http.json("POST", "/api/v2/dbrps", body=new)
    return Step("made", what)
