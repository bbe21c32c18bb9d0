"""Boards over what the collector writes into InfluxDB, in InfluxQL, the language of all its generations."""
# ruff: noqa: S608 - queries of ours, for Grafana to send

from panels import Board, Panel, Query, Variable

_NOW = "time > now() - 15s"
"""As long as Prometheus waits between two scrapes; a device is stale after 10 s."""
_ORIGIN = '"origin" =~ /${origin:raw}/'
_NODE = "\"node\" = '$node'"
_DEVICE = f"{_NODE} AND \"device\" = '$device'"

NODES = Variable("node", "Node", 'SHOW TAG VALUES FROM "agent" WITH KEY = "node"')
MANY_NODES = NODES._replace(many=True)
DEVICES = Variable("device", "GPU", 'SHOW TAG VALUES FROM "gpu" WITH KEY = "device" WHERE "node" = \'$node\'')
LINKS = {
    "Fleet": "thermogate-influx-fleet",
    "Node": "thermogate-influx-node",
    "Device": "thermogate-influx-device",
    "Agents": "thermogate-influx-agents",
}


def _steps(fields: str, measurement: str, where: str, by: str = "") -> str:
    """Something a step of the range."""
    groups = "time($__interval)" + (f", {by}" if by else "")
    return f'SELECT {fields} FROM "{measurement}" WHERE {where} AND $timeFilter GROUP BY {groups} fill(null)'


def _over_gpus(outer: str, inner: str, name: str) -> str:
    """Something over all GPUs, each reduced to one value a step before."""
    each = f'SELECT {inner} AS "{name}" FROM "gpu" WHERE {_ORIGIN} AND $timeFilter'
    return (
        f'SELECT {outer}("{name}") FROM ({each} GROUP BY time($__interval), "node", "device") '
        "WHERE $timeFilter GROUP BY time($__interval) fill(null)"
    )


def _now(outer: str, field: str) -> str:
    """Something over the newest sample of every GPU."""
    each = f'SELECT last("{field}") AS "v" FROM "gpu" WHERE {_ORIGIN} AND {_NOW} GROUP BY "node", "device"'
    return f'SELECT {outer}("v") FROM ({each})'


def _ranked(order: str, inner: str) -> str:
    each = f'SELECT {inner} AS "value" FROM "gpu" WHERE {_ORIGIN} AND $timeFilter GROUP BY "node", "device"'
    return f'SELECT {order}("value", "node", "device", 20) FROM ({each})'


def _told(measurement: str, columns: str) -> str:
    return f'SELECT {columns}, "json" FROM "{measurement}" WHERE $timeFilter ORDER BY time DESC LIMIT 200'


def _gpu(title: str, field: str, unit: str, **more: object) -> Panel:
    """A line a GPU of the node."""
    query = Query(_steps(f'mean("{field}")', "gpu", _NODE, '"device"'), "gpu$tag_device")
    return Panel(title, "timeseries", unit, [query], **more)  # type: ignore[arg-type]


def _of_device(title: str, unit: str, *fields: str, **more: object) -> Panel:
    """A line a field of the GPU."""
    queries = [Query(_steps(f'mean("{field}")', "gpu", _DEVICE), field) for field in fields]
    return Panel(title, "timeseries", unit, queries, **more)  # type: ignore[arg-type]


def _signals(title: str, *fields: str) -> Panel:
    """A line a signal of the GPU."""
    where = f"{_NODE} AND \"device\" = 'gpu$device'"
    queries = [Query(_steps(f'mean("{field}")', "signal", where), field) for field in fields]
    return Panel(title, "timeseries", "none", queries, "What analytics compute every 10 s: docs/signals.md.")


def _of_node(title: str, unit: str, measurement: str, *fields: str, **more: object) -> Panel:
    queries = [Query(_steps(f'mean("{field}")', measurement, _NODE), field) for field in fields]
    return Panel(title, "timeseries", unit, queries, **more)  # type: ignore[arg-type]


def _stat(title: str, unit: str, query: str) -> Panel:
    return Panel(title, "stat", unit, [Query(query)], width=4, height=4)


FLEET = Board(
    "thermogate-influx-fleet",
    "thermogate: fleet (InfluxDB)",
    "All GPUs: power, heat, throttling and collapses. It reads samples of 1 Hz: keep the range to hours.",
    [],
    [
        _stat("GPUs sampling", "short", _now("count", "temp_c")),
        _stat("Power of GPUs", "watt", _now("sum", "power_w")),
        _stat("Hottest", "celsius", _now("max", "temp_c")),
        _stat("In collapse", "short", _now("sum", "collapse")),
        _stat("Throttled", "short", _now("sum", "throttled")),
        _stat("Mean RLE", "none", _now("mean", "rle")),
        Panel(
            "Power of GPUs", "timeseries", "watt", [Query(_over_gpus("sum", 'mean("power_w")', "w"), "GPUs")]
        ),
        Panel(
            "Temperature",
            "timeseries",
            "celsius",
            [
                Query(_steps('max("temp_c")', "gpu", _ORIGIN), "hottest"),
                Query(_steps('mean("temp_c")', "gpu", _ORIGIN), "mean"),
            ],
        ),
        Panel(
            "GPUs that collapse or throttle",
            "timeseries",
            "short",
            [
                Query(_over_gpus("sum", 'max("collapse")', "c"), "in collapse"),
                Query(_over_gpus("sum", 'max("throttled")', "t"), "throttled"),
            ],
            "GPUs that did at any time of the step.",
        ),
        Panel(
            "Utilization and efficiency",
            "timeseries",
            "none",
            [
                Query(_steps('mean("util_ratio")', "gpu", _ORIGIN), "utilization"),
                Query(_steps('mean("rle")', "gpu", _ORIGIN), "RLE"),
            ],
        ),
        Panel("Hottest", "table", "celsius", [Query(_ranked("top", 'max("temp_c")'))], width=8),
        Panel("Least efficient (RLE)", "table", "none", [Query(_ranked("bottom", 'mean("rle")'))], width=8),
        Panel(
            "Most throttled", "table", "percentunit", [Query(_ranked("top", 'mean("throttled")'))], width=8
        ),
        Panel("Events", "table", "none", [Query(_told("event", '"event"::tag, "node"::tag, "device"::tag'))]),
        Panel("Gate decisions", "table", "none", [Query(_told("decision", '"kind"::tag, "target"::tag'))]),
    ],
    LINKS,
)

NODE = Board(
    "thermogate-influx-node",
    "thermogate: node (InfluxDB)",
    "Every GPU and the CPU of one node.",
    [NODES],
    [
        _gpu("Temperature", "temp_c", "celsius"),
        _gpu("Power", "power_w", "watt", stacked=True),
        _gpu("Utilization", "util_ratio", "percentunit", most=1),
        _gpu("RLE", "rle", "none"),
        Panel(
            "Overload",
            "timeseries",
            "none",
            [Query(_steps('mean("overload")', "signal", _NODE, '"device"'), "$tag_device")],
            "Volatility squared times load over thermal headroom: docs/signals.md.",
        ),
        _gpu("Throttled", "throttled", "percentunit", what="Share of the step.", most=1),
        _gpu("In collapse", "collapse", "percentunit", what="Share of the step.", most=1),
        _of_node("CPU power", "watt", "cpu", "power_w"),
        _of_node("CPU temperature", "celsius", "cpu", "temp_c"),
        _of_node("Power of the node", "watt", "node", "power_w"),
        _of_node("Memory", "bytes", "node", "mem_available_bytes", "mem_total_bytes"),
        _of_node(
            "Stalled",
            "percentunit",
            "node",
            "cpu_stall_some_ratio",
            "mem_stall_some_ratio",
            "io_stall_some_ratio",
        ),
        _of_node("Samples that no store has yet", "short", "agent", "spool_depth_count"),
    ],
    LINKS,
)

DEVICE = Board(
    "thermogate-influx-device",
    "thermogate: device (InfluxDB)",
    "One GPU: heat, power, efficiency and what holds its clocks down.",
    [NODES, DEVICES],
    [
        _of_device("Temperature", "celsius", "temp_c", "mem_temp_c", "temp_limit_c"),
        _of_device("Power", "watt", "power_w", "power_limit_w"),
        _of_device("RLE", "none", "rle", "rle_peak"),
        _of_device("Parts of RLE", "none", "e_th", "e_pw"),
        _signals("Volatility and overload", "volatility", "overload"),
        _signals("Incoherence and repair severity", "incoherence", "repair_severity"),
        _of_device("Time to the temperature limit", "s", "t_sustain_s"),
        _of_device("Utilization", "percentunit", "util_ratio", "mem_util_ratio", "fan_ratio", most=1),
        _of_device(
            "Throttled, in collapse, at its power limit",
            "percentunit",
            "throttled",
            "collapse",
            "clock_event_sw_power_cap",
            "clock_event_hw_thermal",
            what="Share of the step.",
            most=1,
        ),
        _of_device("Clocks", "hertz", "sm_clock_hz", "mem_clock_hz"),
        _of_device("Memory", "bytes", "mem_used_bytes", "mem_total_bytes"),
        _of_device("ECC errors", "short", "ecc_corrected_count", "ecc_uncorrected_count"),
    ],
    LINKS,
)


def _of_agents(title: str, unit: str, fields: str, what: str = "") -> Panel:
    where = '"node" =~ /^$node$/'
    return Panel(
        title, "timeseries", unit, [Query(_steps(fields, "agent", where, '"node"'), "$tag_node")], what
    )


AGENTS = Board(
    "thermogate-influx-agents",
    "thermogate: agents (InfluxDB)",
    "What the agents hold back and cost.",
    [MANY_NODES],
    [
        _of_agents("Samples that no store has yet", "short", 'max("spool_depth_count")'),
        _of_agents("Since a store last acknowledged", "s", 'max("ack_age_s")'),
        _of_agents(
            "Ticks skipped", "short", 'non_negative_difference(max("skipped_count"))', "In each step."
        ),
        _of_agents("Samples dropped", "short", 'non_negative_difference(max("spool_dropped_count"))'),
        _of_agents("Processor", "percentunit", 'non_negative_derivative(max("cpu_s"), 1s)', "Of one core."),
        _of_agents("Memory", "bytes", 'max("rss_bytes")'),
    ],
    LINKS,
)

BOARDS = {"fleet": FLEET, "node": NODE, "device": DEVICE, "agents": AGENTS}
