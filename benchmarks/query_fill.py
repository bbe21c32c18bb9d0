"""What `benchmarks/query.py` asks about: an hour of a fleet, and a day of the devices of one job.

The embedded store is filled by SQL, at 1 Hz, in the order in which live writes would put it there; a server,
which has no faster way in than its own writes, by line protocol with a sample every `spacing_s`, so that
it has as many windows and devices but fewer samples. Windows are made by `roll_up` from samples, but those
of a day of the devices that are not the job's: in the embedded store, where one device's are between all the
others', they are put there by SQL; InfluxDB keeps each device apart, and has none.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.store.base import Batch, Store
from thermogate.collector.store.duck import Cursor, Database
from thermogate.collector.store.embedded import FILE_NAME
from thermogate.collector.store.tables import Tables
from thermogate.core.clock import NS
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.query import Device
from thermogate.core.wire import format_header, format_line

GPUS = 8
HOUR_S = 3600
DAY_S = 24 * HOUR_S
_LINES_A_WRITE = 20_000

_FIELDS = {
    "power_w": "round(300 + 400 * a, 1)",
    "energy_j": "second * 500 + round(200 * a, 1)",
    "temp_c": "round(50 + 35 * b)",
    "util_ratio": "round(a, 2)",
    "power_limit_w": "700",
    "temp_limit_c": "87",
    "rle": "round(b, 3)",
    "rle_raw": "round(a, 3)",
    "a_load_ratio": "round(1 - a, 3)",
    "t_sustain_s": "round(600 * b)",
    "collapse": "(a < 0.01)::integer",
    "throttled": "(b < 0.02)::integer",
    "mem_used_bytes": "79456894976",
    "sm_clock_hz": "1980000000",
}
"""By two random numbers, a and b."""
_FILLED = ("power_w", "temp_c", "util_ratio", "rle")
"""Gauges of windows that SQL puts there: columns are read each by itself, so others would change nothing."""


class Plan(NamedTuple):
    """`nodes` with an hour of samples before `end_ns`, of which the first `job_nodes` have a day."""

    nodes: int
    job_nodes: int
    end_ns: int
    spacing_s: int

    @property
    def hour_ns(self) -> int:
        """The begin of the hour."""
        return self.end_ns - HOUR_S * NS

    @property
    def day_ns(self) -> int:
        """The begin of the day."""
        return self.end_ns - DAY_S * NS

    def job(self) -> list[Device]:
        """The devices of the job."""
        return [Device(name(n), "gpu", str(gpu)) for n in range(self.job_nodes) for gpu in range(GPUS)]


def name(number: int) -> str:
    """Of a node."""
    return f"n{number:04}"


def tick(plan: Plan, time_ns: int, nodes: int | None = None) -> Batch:
    """A second of the first `nodes`, as they send it."""
    count = plan.nodes if nodes is None else nodes
    return Batch(telemetry=tuple(_message(name(n), time_ns) for n in range(count)))


def statuses(plan: Plan) -> tuple[Status, ...]:
    """What nodes say of themselves and their devices when they connect."""
    now_ns = time.time_ns()
    devices = tuple(
        DeviceInfo(kind="gpu", device=str(gpu), model="H100-SXM", rated_power_w=700.0, temp_limit_c=87.0)
        for gpu in range(GPUS)
    )
    return tuple(
        Status(node=name(n), time_ns=now_ns, online=True, devices=devices) for n in range(plan.nodes)
    )


def _message(node: str, time_ns: int) -> bytes:
    second = time_ns // NS % (100 * DAY_S)
    lines = (
        format_line("gpu", node, str(gpu), "H100-SXM", None, _values(second), time_ns) for gpu in range(GPUS)
    )
    return format_header(node, "3f2a", second) + "".join(lines).encode()


def _values(second: int) -> dict[str, float]:
    chance = random.random()
    return {
        "power_w": round(300 + 400 * chance, 1),
        "energy_j": second * 500 + round(200 * chance, 1),
        "temp_c": 50 + int(35 * chance),
        "util_ratio": round(chance, 2),
        "power_limit_w": 700,
        "temp_limit_c": 87,
        "rle": round(chance, 3),
        "rle_raw": round(chance, 3),
        "a_load_ratio": round(chance, 3),
        "t_sustain_s": int(600 * chance),
        "collapse": int(chance < 0.01),
        "throttled": int(chance < 0.02),
        "mem_used_bytes": 79456894976,
        "sm_clock_hz": 1980000000,
    }


async def fill(store: Store, plan: Plan) -> int:
    """By ordinary writes, a sample every `spacing_s`. Returns how many."""
    count, settling = 0, None
    for first_ns, last_ns, nodes in (
        (plan.day_ns, plan.hour_ns, plan.job_nodes),
        (plan.hour_ns, plan.end_ns, plan.nodes),
    ):
        for batch in _batches(plan, first_ns, last_ns, nodes):
            settling = await store.write(batch)
            count += len(batch.telemetry) * GPUS
    if settling is not None:
        await settling
    return count


def _batches(plan: Plan, first_ns: int, last_ns: int, nodes: int) -> Iterator[Batch]:
    payloads: list[bytes] = []
    for time_ns in range(first_ns, last_ns, plan.spacing_s * NS):
        payloads += tick(plan, time_ns, nodes).telemetry
        if len(payloads) * GPUS >= _LINES_A_WRITE:
            yield Batch(telemetry=tuple(payloads))
            payloads = []
    yield Batch(telemetry=tuple(payloads))


def fill_embedded(folder: Path, plan: Plan) -> int:
    """By SQL, at 1 Hz, into a store that nobody has open. Returns how many samples."""
    database = Database(folder / FILE_NAME, EmbeddedSettings(), read_only=False)
    database.open()
    try:
        with database.transaction() as cursor:
            Tables(0).create(cursor)
        for second in range(0, DAY_S - HOUR_S, HOUR_S // 6):
            with database.transaction() as cursor:
                _samples(cursor, plan.day_ns + second * NS, HOUR_S // 6, 0, plan.job_nodes)
                _windows(cursor, plan.day_ns + second * NS, HOUR_S // 6, plan.job_nodes, plan.nodes)
        for second in range(0, HOUR_S, 60):
            with database.transaction() as cursor:
                _samples(cursor, plan.hour_ns + second * NS, 60, 0, plan.nodes)
    finally:
        database.close()
    return GPUS * (plan.nodes * HOUR_S + plan.job_nodes * (DAY_S - HOUR_S))


def _rows(begin_ns: int, steps: int, step_s: int, first: int, last: int) -> str:
    """A row a step and device, in the order in which they come, with two random numbers."""
    devices = (last - first) * GPUS
    return (
        f"(select {begin_ns} + i // {devices} * {step_s * NS} as time_ns, "
        f"{begin_ns // NS % (100 * DAY_S)} + i // {devices} * {step_s} as second, "
        f"format('n{{:04}}', {first} + i % {devices} // {GPUS}) as node, (i % {GPUS})::varchar as device, "
        f"random() as a, random() as b from range({devices * steps}) r(i))"
    )


def _samples(cursor: Cursor, begin_ns: int, seconds: int, first: int, last: int) -> None:
    cursor.execute(
        f"insert into gpu (time_ns, node, device, model, origin, {', '.join(_FIELDS)}) "
        f"select time_ns, node, device, 'H100-SXM', '', {', '.join(_FIELDS.values())} "
        f"from {_rows(begin_ns, seconds, 1, first, last)}"
    )


def _windows(cursor: Cursor, begin_ns: int, seconds: int, first: int, last: int) -> None:
    columns = {
        "sample_count": "60",
        "first_ns": "time_ns",
        "last_ns": f"time_ns + {59 * NS}",
        "energy_j_count": "60",
        "energy_j_growth": "round(30000 * a, 1)",
        "collapse_growth": "0",
        "throttled_growth": "1",
    }
    for field in _FILLED:
        sql = _FIELDS[field]
        columns |= {
            f"{field}_mean": f"{sql} + round(b, 4)",
            f"{field}_min": sql,
            f"{field}_max": f"{sql} + 1",
            f"{field}_count": "60",
        }
    cursor.execute(
        f"insert into gpu_1m (time_ns, node, device, {', '.join(columns)}) "
        f"select time_ns, node, device, {', '.join(columns.values())} "
        f"from {_rows(begin_ns, seconds // 60, 60, first, last)}"
    )
