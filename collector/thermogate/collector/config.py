"""Settings of the collector and of the stores it can write to."""

from typing import Annotated, Literal

import msgspec

from thermogate.core.config import Settings

_Positive = msgspec.Meta(gt=0)
_OneOrMore = msgspec.Meta(ge=1)


class EmbeddedSettings(Settings, frozen=True):
    """The store inside the process: one DuckDB file."""

    retention_days: Annotated[float, _Positive] = 30.0
    """Older samples are deleted. A month holds whole training runs to compare with; 100 nodes of 8
    GPUs write about 1.1 GB a day."""
    memory_mb: Annotated[int, msgspec.Meta(ge=64)] = 1024
    """What queries may use before they spill to disk; DuckDB's own default, 80 % of the machine,
    is too much for a guest on it."""
    threads: Annotated[int, _OneOrMore] = 2
    """Processor threads for one query: 69 million rows in about a second with two."""
    max_extra_fields: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Fields that this version does not know, from newer agents, kept for each kind of device; a
    bound, because every one becomes a column."""


class InfluxSettings(Settings, frozen=True):
    """InfluxDB. With `token_file` its 2.x interface is used, else that of 1.x."""

    url: str = "http://127.0.0.1:8086"
    database: Annotated[str, msgspec.Meta(min_length=1)] = "thermogate"
    """Database of 1.x, made when missing; bucket of 2.x, which has to exist."""
    username: str = ""
    password_file: str = ""
    """1.x with authentication: file whose first line is the password."""
    org: str = ""
    token_file: str = ""
    """2.x: file whose first line is a token that may read and write the bucket."""
    ca_file: str = ""
    """Authorities to trust with https; empty: those of the system."""
    retention_days: Annotated[float, _Positive] = 30.0
    """Retention of a database that is made here; as long as that of the embedded store."""
    timeout_s: Annotated[float, _Positive] = 10.0
    """A write of 900 lines takes 30 ms; ten seconds are a server in trouble."""


class CollectorSettings(Settings, frozen=True):
    """What one collector does."""

    store: Literal["embedded", "influx"] = "embedded"
    client_id: str = "thermogate-collector"
    """Name at the broker; every collector needs its own."""
    batch: Annotated[int, _OneOrMore] = 100
    """Most messages in one write. Brokers send no more than a window unacknowledged (iotcore 100,
    Mosquitto 20), so a write takes what is there and never waits for more."""
    ack_interval_s: Annotated[float, _Positive] = 5.0
    """Agents hear this often what is stored: at 1 Hz one acknowledgement for 5 messages."""
    retry_min_s: Annotated[float, _Positive] = 0.5
    retry_max_s: Annotated[float, _Positive] = 30.0
    """Waits between writes that failed double from min to max; half a minute after a long outage is
    small beside the spools' hours."""
    quarantine_mb: Annotated[int, _OneOrMore] = 64
    """Size on disk of what was refused; beyond it the oldest goes."""
    embedded: EmbeddedSettings = msgspec.field(default_factory=EmbeddedSettings)
    influx: InfluxSettings = msgspec.field(default_factory=InfluxSettings)
