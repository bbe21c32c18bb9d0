"""The faults. Each case prepares its bed, and injects its fault while the fleet publishes."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults.bed import Bed
from benchmarks.faults.network import network
from benchmarks.faults.poison import poison
from benchmarks.faults.proxy import Mode
from benchmarks.faults.skip import SkippedError
from thermogate.agent.simulated_journal import read
from thermogate.cli import simulate_fleet
from thermogate.core.clock import NS

Prepare = Callable[[Bed], contextlib.AbstractContextManager[None]]
Inject = Callable[[Bed], None]

_LATE_S = 60.0
"""How much later than planned a node on a busy machine may get as far."""


class Case(NamedTuple):
    """`prepare` is entered before the bed starts; `inject` returns when the fault is over."""

    name: str
    what: str
    prepare: Prepare
    inject: Inject


@contextlib.contextmanager
def _plain(_: Bed) -> Iterator[None]:
    yield


def _setting(**changes: object) -> Prepare:
    """A bed with some attributes changed."""

    @contextlib.contextmanager
    def prepare(bed: Bed) -> Iterator[None]:
        for name, value in changes.items():
            setattr(bed, name, value)
        yield

    return prepare


def _kill_collector(bed: Bed) -> None:
    _kill_collector_times(bed, bed.plan.kills)


def _kill_collector_half(bed: Bed) -> None:
    """Half as often: until a store has settled nothing is acknowledged, and all comes again."""
    _kill_collector_times(bed, max(1, bed.plan.kills // 2))


def _kill_collector_times(bed: Bed, times: int) -> None:
    for _ in range(times):
        bed.restart("collector-0", bed.plan.down_s)
        bed.wait_for_collector()
        time.sleep(bed.plan.between_s)


def _kill_broker(bed: Bed) -> None:
    for _ in range(_fewer(bed)):
        bed.restart("broker", 2 * bed.plan.down_s)
        time.sleep(2 * bed.plan.between_s)


def _kill_database(bed: Bed) -> None:
    for _ in range(_fewer(bed)):
        bed.restart("database", 2 * bed.plan.down_s)
        bed.wait_for_database()
        time.sleep(2 * bed.plan.between_s)


def _database(mode: Mode) -> Inject:
    """The database seems to be in trouble for a while."""

    def inject(bed: Bed) -> None:
        assert bed.proxy is not None
        bed.proxy.mode = mode
        time.sleep(bed.plan.fault_s)
        bed.proxy.mode = "well"
        if not bed.proxy.injected[mode]:
            raise SystemExit(f"no write came while the database was {mode!r}: nothing was tested")

    return inject


def _refuse_lines(bed: Bed) -> None:
    """Among the fleet's messages come some with a line that the real database refuses."""
    sent = poison(bed.broker_url, bed.database_url, count=round(bed.plan.fault_s))
    bed.wait(lambda: bed.quarantined() >= sent, f"{sent} messages are in quarantine", 30)


@contextlib.contextmanager
def _small_disk(bed: Bed) -> Iterator[None]:
    """The spools of the fleet lie on a disk of their own."""
    if os.geteuid() != 0:
        raise SkippedError("a disk of its own (tmpfs) needs root")
    spools = bed.fleet_folder / "spool"
    spools.mkdir(parents=True)
    size_mib = 16 + bed.plan.nodes // 4  # a node writes some 60 kB in the time that this takes
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(spools)]
    if (done := subprocess.run(mount, capture_output=True, check=False)).returncode:
        raise SkippedError(f"no tmpfs here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(spools)], check=True)


def _fill_disk(bed: Bed) -> None:
    """Nothing more fits, and nobody takes what waits: records wait in memory. Then there is room again."""
    filler = bed.fleet_folder / "spool" / "filler"
    bed.parts["broker"].kill()
    _fill(filler)
    bed.wait(lambda: bed.progress().get("troubled") == bed.plan.nodes, "no spool can write", 60)
    time.sleep(bed.plan.fault_s)
    bed.parts["broker"].start()
    time.sleep(bed.plan.between_s)
    filler.unlink()


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0")


def _kill_one_collector(bed: Bed) -> None:
    """One of two, for good."""
    bed.parts["collector-1"].kill()
    time.sleep(bed.plan.fault_s)


@contextlib.contextmanager
def _jumping(bed: Bed) -> Iterator[None]:
    """A tenth of the nodes have their clocks set: an hour ahead, and later further back than they were.

    Not by whole seconds, so that no two samples fall on one millisecond, which is all that some stores keep.
    """
    ahead_s = bed.plan.lead_s + bed.plan.fault_s / 3
    back_s = bed.plan.lead_s + 2 * bed.plan.fault_s / 3
    bed.fleet_arguments = [
        f"--clock-jump=sim-*1,{ahead_s:.1f}s,+3600.5s",
        f"--clock-jump=sim-*1,{back_s:.1f}s,-5400.75s",
    ]
    yield


def _wait_for_jumps(bed: Bed) -> None:
    """Both are seen in what a node has sampled; nodes start later on a busy machine."""
    time.sleep(bed.plan.fault_s)
    deadline_s = time.monotonic() + _LATE_S
    while not _has_jumped(bed):
        if time.monotonic() > deadline_s:
            raise SystemExit("no clock has jumped: nothing was tested")
        time.sleep(1.0)


def _has_jumped(bed: Bed) -> bool:
    stamps = [one.time_ns for one in read(simulate_fleet.journal(bed.fleet_folder, "sim-0001"))]
    return max(stamps) - min(stamps) >= 5000 * NS  # both jumps, less the tick between


@contextlib.contextmanager
def _apart(bed: Bed) -> Iterator[None]:
    """The fleet reaches the broker through a network that can be cut."""
    with network() as made:
        bed.broker_address = made.address
        bed.fleet_wrap = made.wrap
        bed.network = made
        yield


def _cut_network(bed: Bed) -> None:
    assert bed.network is not None
    bed.network.cut()
    time.sleep(bed.plan.cut_s)
    behind_s = (time.time_ns() - bed.stored_until_ns()) / NS
    bed.network.mend()
    if behind_s < bed.plan.cut_s:
        raise SystemExit(f"all but the last {behind_s:.1f} s was stored: the network was not cut")


def _fewer(bed: Bed) -> int:
    return max(1, bed.plan.kills // 3)


_PROXIED = _setting(proxied=True)
_PERSISTENT = _setting(broker_config="persistence true\nautosave_interval 5")
_SHARED = _setting(collectors=2, collector_sets=["collector.share_group=faults"])
_VICTORIA = _setting(store_kind="victoria")

CASES = (
    Case("collector-killed", "kill -9 of the collector", _plain, _kill_collector),
    Case("broker-killed-persistent", "kill -9 of Mosquitto, persistence on", _PERSISTENT, _kill_broker),
    Case("broker-killed-forgetful", "kill -9 of Mosquitto, persistence off", _plain, _kill_broker),
    Case("database-killed", "kill -9 of InfluxDB", _plain, _kill_database),
    Case("database-500", "InfluxDB answers 500", _PROXIED, _database("500")),
    Case("database-503", "InfluxDB answers 503, Retry-After: 3", _PROXIED, _database("503")),
    Case("database-silent", "InfluxDB takes writes and never answers", _PROXIED, _database("silent")),
    Case("database-forgets", "InfluxDB stores, the answer is lost", _PROXIED, _database("forgets")),
    Case("line-refused", "InfluxDB refuses single lines (400, partial write)", _plain, _refuse_lines),
    Case("spool-disk-full", "no room for the spools, and no broker", _small_disk, _fill_disk),
    Case("two-collectors", "two share the load, one is killed for good", _SHARED, _kill_one_collector),
    Case("clock-jumps", "clocks of a tenth of the nodes: +1 h, then -1.5 h", _jumping, _wait_for_jumps),
    Case("network-cut", "network between nodes and broker drops all", _apart, _cut_network),
    Case("victoria-killed", "kill -9 of VictoriaMetrics", _VICTORIA, _kill_database),
    Case("victoria-collector-killed", "kill -9 of its collector", _VICTORIA, _kill_collector_half),
)
