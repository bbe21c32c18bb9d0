"""The fleet, the gate and the collector as Prometheus' families."""

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from resource import getpagesize

from thermogate.core.clock import NS
from thermogate.core.schema import MEASUREMENTS
from thermogate.dashboard import dcgm
from thermogate.dashboard.answers import Info
from thermogate.dashboard.present import Live, Present
from thermogate.dashboard.prometheus_names import metric_name
from thermogate.dashboard.prometheus_text import Family, labels

STATES = frozenset({"flooding", "rollup_waiting"})
"""Of the collector's numbers those that say how things are now; the others count since its start."""

_STATM = Path("/proc/self/statm")


def families(present: Present, info: Info, *, dcgm_names: bool) -> Iterator[Family]:
    """All of it; families without samples may be among them."""
    measured = chain.from_iterable(_measured(kind, live) for kind, live in present.live.items())
    theirs = dcgm.families(present.live["gpu"]) if dcgm_names else iter(())
    return chain(measured, _devices(present), _gates(present), _process(info), theirs)


def _measured(kind: str, live: Sequence[Live]) -> Iterator[Family]:
    labelled = [(_point_labels(one), one.point.fields) for one in live]
    for field in MEASUREMENTS[kind].fields:
        name = field.name
        samples = [(of, fields[name]) for of, fields in labelled if name in fields]
        what = field.what.replace("\\", r"\\")
        yield Family(metric_name(kind, field), "counter" if field.counter else "gauge", what, samples)


def _devices(present: Present) -> Iterator[Family]:
    rows = [
        (
            {"node": row.node, "kind": row.kind, "device": row.device, "model": row.model},
            row.origin or "",
            row,
        )
        for row in present.rows
    ]
    yield Family(
        "thermogate_device_state",
        "gauge",
        "1 for the state that a device is in: what a person should know of it, most urgent first.",
        [(labels({**of, "state": row.state, "origin": origin}), 1) for of, origin, row in rows],
    )
    yield Family(
        "thermogate_device_sample_time_seconds",
        "gauge",
        "When the newest sample was taken (Unix time), of silent devices too.",
        [
            (labels({**of, "origin": origin}), row.time_ns / NS)
            for of, origin, row in rows
            if row.time_ns is not None
        ],
    )
    yield Family(
        "thermogate_device_info",
        "gauge",
        "1; how a device names itself, to be joined by node, kind and device.",
        [(_info_labels(one), 1) for kind in present.live.values() for one in kind if one.info],
    )
    yield Family(
        "thermogate_node_online",
        "gauge",
        "1 while the agent of the node is connected to the broker, else 0.",
        [
            (labels({"node": s.node, "version": s.version, "origin": s.origin or ""}), int(s.online))
            for s in present.nodes
        ],
    )


def _gates(present: Present) -> Iterator[Family]:
    targets = [
        ({"kind": gate.kind, "target": gate.target, "mode": gate.mode, "policy": gate.policy}, gate)
        for gate in present.gates
    ]
    yield Family(
        "thermogate_gate_state",
        "gauge",
        "1 for the state that a decision in force gives a target; nobody acts on mode shadow.",
        [(labels({**of, "state": gate.state.value}), 1) for of, gate in targets],
    )
    yield Family(
        "thermogate_gate_pace_ratio",
        "gauge",
        "Share of full power, members or batch that a decision in force allows.",
        [(labels(of), gate.pace) for of, gate in targets],
    )


def _process(info: Info) -> Iterator[Family]:
    yield Family(
        "thermogate_build_info", "gauge", "1; the version.", [(labels({"version": info.version}), 1)]
    )
    for name, value in info.counters.items():
        what = f"Collector: {name.replace('_', ' ')}"
        if name in STATES:
            yield Family(f"thermogate_collector_{name}", "gauge", f"{what}, now.", [("", value)])
        else:
            full = f"thermogate_collector_{name}_total"
            yield Family(full, "counter", f"{what}, since it started.", [("", value)])
    start_s = info.started_ns / NS
    yield Family(
        "process_start_time_seconds", "gauge", "When this process started (Unix time).", [("", start_s)]
    )
    yield Family(
        "process_cpu_seconds_total", "counter", "Processor time of this process.", [("", time.process_time())]
    )
    rss = int(_STATM.read_text().split()[1]) * getpagesize()
    yield Family("process_resident_memory_bytes", "gauge", "Resident memory of this process.", [("", rss)])


def _point_labels(one: Live) -> str:
    point = one.point
    return labels({"node": point.node, "device": point.device, "model": point.model, "origin": point.origin})


def _info_labels(one: Live) -> str:
    point, info = one.point, one.info
    assert info is not None
    return labels(
        {
            "node": point.node,
            "kind": point.measurement,
            "device": point.device,
            "model": point.model,
            "name": info.name,
            "uuid": info.uuid,
            "bus": info.bus,
            "parent": info.parent,
            "origin": point.origin,
        }
    )
