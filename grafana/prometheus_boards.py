"""Boards over what /metrics tells, in PromQL: for Prometheus, and VictoriaMetrics where it scrapes."""

from panels import Board, Panel, Query, Variable

_ORIGIN = 'origin=~"${origin:raw}"'
_NODE = 'node="$node"'
_DEVICE = f'{_NODE},device="$device"'

NODES = Variable("node", "Node", "label_values(thermogate_node_online, node)")
DEVICES = Variable("device", "GPU", 'label_values(thermogate_device_state{kind="gpu",node="$node"}, device)')
LINKS = {
    "Fleet": "thermogate-prometheus-fleet",
    "Node": "thermogate-prometheus-node",
    "Device": "thermogate-prometheus-device",
    "Collector": "thermogate-prometheus-collector",
}


def _gpu(name: str) -> str:
    return f"thermogate_gpu_{name}{{{_ORIGIN}}}"


def _stat(title: str, unit: str, query: str) -> Panel:
    return Panel(title, "stat", unit, [Query(query, title, instant=True)], width=4, height=4)


def _bars(title: str, unit: str, query: str, **more: object) -> Panel:
    queries = [Query(query, "{{node}} gpu{{device}}", instant=True)]
    return Panel(title, "bargauge", unit, queries, width=8, **more)  # type: ignore[arg-type]


def _of_node(title: str, unit: str, name: str, **more: object) -> Panel:
    """A line a GPU of the node."""
    query = Query(f"thermogate_gpu_{name}{{{_NODE}}}", "gpu{{device}}")
    return Panel(title, "timeseries", unit, [query], **more)  # type: ignore[arg-type]


def _lines(title: str, unit: str, where: str, names: dict[str, str], **more: object) -> Panel:
    """A line a metric, by what it is called in the legend."""
    queries = [Query(f"{name}{{{where}}}", shown) for name, shown in names.items()]
    return Panel(title, "timeseries", unit, queries, **more)  # type: ignore[arg-type]


def _signals(title: str, *fields: str) -> Panel:
    """A line a signal of the GPU."""
    names = {f"thermogate_signal_{field}": field.replace("_", " ") for field in fields}
    what = "What analytics compute every 10 s: docs/signals.md."
    return _lines(title, "none", f'{_NODE},device="gpu$device"', names, what=what)


FLEET = Board(
    "thermogate-prometheus-fleet",
    "thermogate: fleet (Prometheus)",
    "All GPUs: power, heat, throttling, collapses and what the gate says.",
    [],
    [
        _stat("GPUs sampling", "short", f"count({_gpu('temp_celsius')})"),
        _stat("Power of GPUs", "watt", f"sum({_gpu('power_watts')})"),
        _stat("Hottest", "celsius", f"max({_gpu('temp_celsius')})"),
        _stat("In collapse", "short", f"sum({_gpu('collapse')})"),
        _stat("Throttled", "short", f"sum({_gpu('throttled')})"),
        _stat("Nodes offline", "short", f"count(thermogate_node_online{{{_ORIGIN}}} == 0) or vector(0)"),
        Panel(
            "Power of GPUs",
            "timeseries",
            "watt",
            [Query(f"sum by (model) ({_gpu('power_watts')})", "{{model}}")],
            stacked=True,
        ),
        Panel(
            "Temperature",
            "timeseries",
            "celsius",
            [
                Query(f"max({_gpu('temp_celsius')})", "hottest"),
                Query(f"quantile(0.5, {_gpu('temp_celsius')})", "median"),
            ],
        ),
        Panel(
            "Devices by state",
            "timeseries",
            "short",
            [Query(f"count by (state) (thermogate_device_state{{{_ORIGIN}}})", "{{state}}")],
            stacked=True,
        ),
        Panel(
            "Utilization and efficiency",
            "timeseries",
            "none",
            [
                Query(f"avg({_gpu('util_ratio')})", "utilization"),
                Query(f"avg({_gpu('rle')})", "RLE"),
            ],
        ),
        _bars("Hottest", "celsius", f"topk(20, {_gpu('temp_celsius')})"),
        _bars("Least efficient (RLE)", "none", f"bottomk(20, {_gpu('rle')})"),
        _bars(
            "Most throttled",
            "percentunit",
            f"topk(20, avg_over_time({_gpu('throttled')}[$__range]))",
            what="Share of the range, seen once a scrape.",
        ),
        Panel(
            "Gate decisions in force",
            "table",
            "none",
            [Query("thermogate_gate_state == 1", instant=True)],
            width=24,
        ),
    ],
    LINKS,
)

NODE = Board(
    "thermogate-prometheus-node",
    "thermogate: node (Prometheus)",
    "Every GPU and the CPU of one node.",
    [NODES],
    [
        _of_node("Temperature", "celsius", "temp_celsius"),
        _of_node("Power", "watt", "power_watts", stacked=True),
        _of_node("Utilization", "percentunit", "util_ratio", most=1),
        _of_node("RLE", "none", "rle"),
        _lines(
            "Overload",
            "none",
            _NODE,
            {"thermogate_signal_overload": "{{device}}"},
            what="Volatility squared times load over thermal headroom: docs/signals.md.",
        ),
        _of_node("Throttled", "short", "throttled", most=1),
        _of_node("In collapse", "short", "collapse", most=1),
        _lines("CPU power", "watt", _NODE, {"thermogate_cpu_power_watts": "cpu{{device}}"}),
        _lines("CPU temperature", "celsius", _NODE, {"thermogate_cpu_temp_celsius": "cpu{{device}}"}),
        _lines("Power of the node", "watt", _NODE, {"thermogate_node_power_watts": "node"}),
        _lines(
            "Memory",
            "bytes",
            _NODE,
            {"thermogate_node_mem_available_bytes": "available", "thermogate_node_mem_total_bytes": "in all"},
        ),
        _lines(
            "Stalled",
            "percentunit",
            _NODE,
            {
                "thermogate_node_cpu_stall_some_ratio": "CPU",
                "thermogate_node_mem_stall_some_ratio": "memory",
                "thermogate_node_io_stall_some_ratio": "I/O",
            },
        ),
        _lines("Samples that no store has yet", "short", _NODE, {"thermogate_agent_spool_depth": "spool"}),
    ],
    LINKS,
)

DEVICE = Board(
    "thermogate-prometheus-device",
    "thermogate: device (Prometheus)",
    "One GPU: heat, power, efficiency and what holds its clocks down.",
    [NODES, DEVICES],
    [
        _lines(
            "Temperature",
            "celsius",
            _DEVICE,
            {
                "thermogate_gpu_temp_celsius": "die",
                "thermogate_gpu_mem_temp_celsius": "memory",
                "thermogate_gpu_temp_limit_celsius": "limit",
            },
        ),
        _lines(
            "Power",
            "watt",
            _DEVICE,
            {"thermogate_gpu_power_watts": "power", "thermogate_gpu_power_limit_watts": "limit"},
        ),
        _lines("RLE", "none", _DEVICE, {"thermogate_gpu_rle": "RLE", "thermogate_gpu_rle_peak": "peak"}),
        _lines(
            "Parts of RLE",
            "none",
            _DEVICE,
            {"thermogate_gpu_e_th": "thermal", "thermogate_gpu_e_pw": "power"},
        ),
        _signals("Volatility and overload", "volatility", "overload"),
        _signals("Incoherence and repair severity", "incoherence", "repair_severity"),
        _lines(
            "Time to the temperature limit", "s", _DEVICE, {"thermogate_gpu_t_sustain_seconds": "t_sustain"}
        ),
        _lines(
            "Utilization",
            "percentunit",
            _DEVICE,
            {
                "thermogate_gpu_util_ratio": "GPU",
                "thermogate_gpu_mem_util_ratio": "memory",
                "thermogate_gpu_fan_ratio": "fan",
            },
            most=1,
        ),
        _lines(
            "Throttled, in collapse, at its power limit",
            "short",
            _DEVICE,
            {
                "thermogate_gpu_throttled": "throttled",
                "thermogate_gpu_collapse": "in collapse",
                "thermogate_gpu_clock_event_sw_power_cap": "at the power limit",
                "thermogate_gpu_clock_event_hw_thermal": "slowed by heat",
            },
            most=1,
        ),
        _lines(
            "Clocks",
            "hertz",
            _DEVICE,
            {"thermogate_gpu_sm_clock_hertz": "SM", "thermogate_gpu_mem_clock_hertz": "memory"},
        ),
        _lines(
            "Memory",
            "bytes",
            _DEVICE,
            {"thermogate_gpu_mem_used_bytes": "used", "thermogate_gpu_mem_total_bytes": "in all"},
        ),
        _lines(
            "ECC errors",
            "short",
            _DEVICE,
            {
                "thermogate_gpu_ecc_corrected_total": "corrected",
                "thermogate_gpu_ecc_uncorrected_total": "uncorrected",
            },
        ),
        Panel(
            "Power by the energy counter",
            "timeseries",
            "watt",
            [Query(f"rate(thermogate_gpu_energy_joules_total{{{_DEVICE}}}[$__rate_interval])", "mean")],
            "Mean over the step, by what the device counted: exact where samples of the power are not.",
        ),
    ],
    LINKS,
)


def _rate(name: str) -> Query:
    return Query(f"sum(rate(thermogate_collector_{name}_total[$__rate_interval]))", name)


COLLECTOR = Board(
    "thermogate-prometheus-collector",
    "thermogate: collector (Prometheus)",
    "Whether everything arrives, and what it costs.",
    [],
    [
        _stat("Nodes online", "short", "sum(thermogate_node_online)"),
        _stat("Nodes offline", "short", "count(thermogate_node_online == 0) or vector(0)"),
        _stat(
            "Devices silent", "short", 'count(thermogate_device_state{state=~"stale|offline"}) or vector(0)'
        ),
        _stat("Samples waiting on nodes", "short", "sum(thermogate_agent_spool_depth)"),
        _stat("Oldest of them", "s", "max(thermogate_agent_spool_oldest_seconds)"),
        _stat("Scrape takes", "s", 'max(scrape_duration_seconds{job="thermogate"})'),
        Panel("Samples stored a second", "timeseries", "short", [_rate("samples")]),
        Panel("Messages a second", "timeseries", "short", [_rate("messages"), _rate("acks")]),
        Panel(
            "Writes that failed, messages set aside or throttled, a second",
            "timeseries",
            "short",
            [_rate("store_errors"), _rate("quarantined"), _rate("quarantine_dropped"), _rate("throttled")],
        ),
        Panel(
            "Processor of the collector",
            "timeseries",
            "percentunit",
            [Query('rate(process_cpu_seconds_total{job="thermogate"}[$__rate_interval])', "{{instance}}")],
            "Of one core.",
        ),
        Panel(
            "Memory of the collector",
            "timeseries",
            "bytes",
            [Query('process_resident_memory_bytes{job="thermogate"}', "{{instance}}")],
        ),
        Panel(
            "What waits",
            "timeseries",
            "short",
            [
                Query("sum(thermogate_agent_spool_depth)", "messages in spools"),
                Query("sum(thermogate_collector_rollup_waiting)", "windows to roll up"),
                Query("sum(thermogate_collector_flooding)", "nodes that flood"),
            ],
        ),
        Panel(
            "Agents that waited longest for an acknowledgement",
            "timeseries",
            "s",
            [Query("topk(10, thermogate_agent_ack_age_seconds)", "{{node}}")],
        ),
    ],
    LINKS,
)

BOARDS = {"fleet": FLEET, "node": NODE, "device": DEVICE, "collector": COLLECTOR}
