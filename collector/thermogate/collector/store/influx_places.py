"""Where in InfluxDB raw samples and rollups live, in the words of each generation.

Raw samples, 1 min and 1 h are kept for different times, so each has a retention policy of its own
(1.x), a bucket (2.x) or a database (3.x). A bucket "thermogate/1m" is the policy "1m" of the
database "thermogate" to InfluxQL, so that 1.x and 2.x are asked in the same words.
"""

from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.influx_server import Generation
from thermogate.collector.store.influx_text import identifier

RAW = "raw"

Statement = tuple[str, str]
"""The resolution that is asked, and InfluxQL."""


def place(settings: InfluxSettings, generation: Generation, resolution: str) -> str:
    """Name of the database or bucket; in 1.x all are in one database."""
    if resolution == RAW or generation == "1":
        return settings.database
    return f"{settings.database}{'/' if generation == '2' else '_'}{resolution}"


def source(generation: Generation, resolution: str, measurement: str) -> str:
    """What stands behind FROM (or INTO) in InfluxQL."""
    if resolution == RAW or generation == "3":
        return identifier(measurement)
    return f"{identifier(resolution)}.{identifier(measurement)}"


def asked_database(settings: InfluxSettings, generation: Generation, resolution: str) -> str:
    """Which database InfluxQL has to name."""
    return place(settings, generation, resolution) if generation == "3" else settings.database


def write_target(
    settings: InfluxSettings, generation: Generation, resolution: str
) -> tuple[str, dict[str, str]]:
    """Path and parameters of a write in nanoseconds.

    3.x: its own endpoint, as at the compatible ones a partial write of it is a 500 or says less.
    """
    name = place(settings, generation, resolution)
    if generation == "3":
        return "/api/v3/write_lp", {"db": name, "precision": "nanosecond"}
    if generation == "2":
        return "/api/v2/write", {"org": settings.org, "bucket": name, "precision": "ns"}
    policy = {} if resolution == RAW else {"rp": resolution}
    return "/write", {"db": name, "precision": "ns", **policy}
