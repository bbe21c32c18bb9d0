"""Settings of the collector and of the stores it can write to."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from thermogate.core.config import Settings
from thermogate.core.schema import DEVICE_KINDS, MEASUREMENTS

_Positive = msgspec.Meta(gt=0)
_OneOrMore = msgspec.Meta(ge=1)
_MOVED = {"retention_days": "collector.retention.raw_days"}


class RetentionSettings(Settings, frozen=True):
    """How long a store keeps what, of each resolution: older rows are deleted."""

    raw_days: Annotated[float, _Positive] = 30.0
    """Samples as they came, events and decisions. A month holds whole training runs to compare with; 100
    nodes of 8 GPUs write about 1.1 GB a day."""
    minute_days: Annotated[float, _Positive] = 180.0
    """Windows of a minute: half a year, so that a run can be compared with the last one of its kind."""
    hour_days: Annotated[float, _Positive] = 1825.0
    """Windows of an hour: five years, the life of a cluster, for energy, ageing and summers."""


_ROLLED = (
    "power_w",
    "energy_j",
    "temp_c",
    "mem_temp_c",
    "util_ratio",
    "rle",
    "collapse",
    "throttled",
    "temp_limit_c",
    "dram_energy_j",
)


class RollupSettings(Settings, frozen=True):
    """Windows of a minute and of an hour, made from the samples (docs/stores.md)."""

    enabled: bool = True
    """Whether this collector rolls up what it stores; without, questions are answered from samples only."""
    fresh: Literal["own", "all", "none"] = "own"
    """Of whom windows are made at their end: of the nodes whose samples this collector has stored, of all,
    or of none. Of several collectors on one database let one or two have "all" and the others "none", or
    each reads everything; late samples are looked after by whoever stored them."""
    after_s: Annotated[float, _Positive] = 15.0
    """A minute is rolled up this long after its end: samples come within 2 s, and nodes send what was
    not acknowledged again after some more. What comes later has its minute rolled up again."""
    every_s: Annotated[float, _Positive] = 10.0
    """How often it is looked for windows to roll up."""
    load_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Share of the time in which late windows may keep the store busy; live writes and questions have
    the rest."""
    fields: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = _ROLLED
    """What windows hold, of whichever device has it; the rest is answered from samples, while these last.
    What a window costs InfluxDB is in proportion to its fields. These are what is asked about over months:
    what a cluster takes, how hot and how busy it is, where it loses work, and what charts and the reports
    on jobs need (all but dram_energy_j, which bills add up, and mem_temp_c, by which memory ages)."""

    def __post_init__(self) -> None:
        known = {field.name for kind in (*DEVICE_KINDS, "node") for field in MEASUREMENTS[kind].fields}
        unknown = [name for name in self.fields if name not in known]
        if unknown:
            raise ValueError(f"no field of gpu, cpu or node is called {', '.join(unknown)}")


class EmbeddedSettings(Settings, frozen=True):
    """The store inside the process: one DuckDB file."""

    moved: ClassVar[Mapping[str, str]] = _MOVED

    memory_mb: Annotated[int, msgspec.Meta(ge=64)] = 1024
    """What queries may use before they spill to disk; DuckDB's own default, 80 % of the machine,
    is too much for a guest on it."""
    threads: Annotated[int, _OneOrMore] = 2
    """Processor threads for one query: 69 million rows in about a second with two."""
    max_extra_fields: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Fields that this version does not know, from newer agents, kept for each kind of device; a
    bound, because every one becomes a column."""


class InfluxSettings(Settings, frozen=True):
    """InfluxDB 1.x, 2.x or 3.x; docs/stores.md says what each needs."""

    moved: ClassVar[Mapping[str, str]] = _MOVED

    url: str = "http://127.0.0.1:8086"
    api: Literal["auto", "1", "2", "3"] = "auto"
    """Whose interface to speak: what the server says it is, or that of a generation, for one that does
    not say (InfluxDB Cloud: "2") or that offers another one's (a 1.x user of a 2.x server: "1")."""
    database: Annotated[str, msgspec.Meta(min_length=1)] = "thermogate"
    """Database of 1.x and 3.x, bucket of 2.x. One of 1.x is made when it is missing, those of 2.x and
    3.x by `thermogate collector setup`."""
    username: str = ""
    password_file: str = ""
    """1.x with authentication: file whose first line is the password."""
    org: str = ""
    """2.x: the organisation of the bucket."""
    token_file: str = ""
    """2.x and 3.x: file whose first line is a token that may read and write."""
    ca_file: str = ""
    """Authorities to trust with https; empty: those of the system."""
    timeout_s: Annotated[float, _Positive] = 10.0
    """A write of 900 lines takes 30 ms; ten seconds are a server in trouble."""


class LimitSettings(Settings, frozen=True):
    """What a node, and all of them, may send. What is over is refused or dropped, counted and told."""

    node_msgs_per_s: Annotated[float, _Positive] = 400.0
    """More from one node is dropped unacknowledged, so that its spool sends it again. An agent sends one a
    second and at most 200 of a backlog (agent.uplink.backlog_per_s); twice that is no agent of ours."""
    node_burst_msgs: Annotated[int, _OneOrMore] = 4000
    """Taken at once beyond the rate: what a broker kept of a node for an hour while no collector read."""
    max_nodes: Annotated[int, _OneOrMore] = 50_000
    """Nodes, and targets of decisions, in all: more than twice the largest fleet that this is for. A node
    silent for a day makes room."""
    max_node_series: Annotated[int, _OneOrMore] = 512
    """Devices times models of one node since the start: twice the 256 devices that analytics look at. Every
    one stays in the index of a database."""
    max_extra_fields: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Fields of each measurement that this version does not know, from newer agents, in the whole fleet:
    each becomes a column (embedded) or a series a device (VictoriaMetrics)."""
    max_future_s: Annotated[float, _Positive] = 86_400.0
    """Stamps further ahead of this clock are refused: a clock set by the wrong time zone is let in.
    VictoriaMetrics drops without a word what is two days ahead, and InfluxDB makes a shard a day."""
    quarantine_node_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.125
    """Of quarantine_mb, for what one node puts there in a day. What is more stays unacknowledged in its
    spool: one node that sends rubbish must not push out what others have there."""


class VictoriaSettings(Settings, frozen=True):
    """VictoriaMetrics, one node of it; docs/stores.md says how it has to be started."""

    url: str = "http://127.0.0.1:8428"
    database: Annotated[str, msgspec.Meta(min_length=1)] = "thermogate"
    """Label `db` of everything that is written here, so that others may use the same server."""
    username: str = ""
    password_file: str = ""
    """With -httpAuth.username: file whose first line is the password."""
    token_file: str = ""
    """Behind a proxy that asks for one: file whose first line is a bearer token."""
    ca_file: str = ""
    """Authorities to trust with https; empty: those of the system."""
    timeout_s: Annotated[float, _Positive] = 30.0
    """As long as the server lets a question take (-search.maxQueryDuration)."""
    settle_s: Annotated[float, _Positive] = 15.0
    """Acknowledge to nodes this long after a write. The server has what it took in memory for 1 s, then
    looks every 5 s for what is older than 5 s and puts that on disk: 11 s at most. Killed 46 times
    (kill -9), it had lost nothing older than 9.7 s; the rest is for a slow disk."""


class CollectorSettings(Settings, frozen=True):
    """What one collector does."""

    store: Literal["embedded", "influx", "victoria"] = "embedded"
    client_id: str = ""
    """Name at the broker. Empty: thermogate-collector, the host and a random number, as every collector
    needs its own: a broker ends the older connection of two. Sessions are clean, so it need not last."""
    share_group: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    """Collectors with the same name here share the load: the broker gives each message to one of them
    (shared subscription). Empty: every collector gets everything."""
    batch: Annotated[int, _OneOrMore] = 1000
    """Most messages in one write. Bigger ones cost a database less a line, up to about 10,000 lines. Brokers
    send no more than a window unacknowledged (mqtt.receive_window)."""
    gather_s: Annotated[float, msgspec.Meta(ge=0)] = 0.05
    """A write of less than a batch begins at least this long after the last one: a request costs collector
    and database as much as some twenty messages. What comes after a silence is written at once."""
    writes: Annotated[int, _OneOrMore] = 2
    """Writes on their way at a time, so that the store has work while an answer travels; the second and
    more of whole batches only."""
    ack_interval_s: Annotated[float, _Positive] = 5.0
    """Agents hear this often what is stored: at 1 Hz one acknowledgement for 5 messages."""
    retry_min_s: Annotated[float, _Positive] = 0.5
    retry_max_s: Annotated[float, _Positive] = 30.0
    """Waits between writes that failed double from min to max; half a minute after a long outage is
    small beside the spools' hours."""
    quarantine_mb: Annotated[int, _OneOrMore] = 64
    """Size on disk of what was refused; beyond it the oldest goes."""
    retention: RetentionSettings = msgspec.field(default_factory=RetentionSettings)
    rollup: RollupSettings = msgspec.field(default_factory=RollupSettings)
    limits: LimitSettings = msgspec.field(default_factory=LimitSettings)
    embedded: EmbeddedSettings = msgspec.field(default_factory=EmbeddedSettings)
    influx: InfluxSettings = msgspec.field(default_factory=InfluxSettings)
    victoria: VictoriaSettings = msgspec.field(default_factory=VictoriaSettings)
