"""The sources of a node, composed: over trees that are built (amd_tree.py says after what)."""

from pathlib import Path

from tests.unit.agent.sources.amd_tree import MI300X, AmdTree
from thermogate.agent.config import AgentSettings
from thermogate.agent.pipeline import Pipeline
from thermogate.agent.sources.host import HostSettings
from thermogate.cli.live import sampler
from thermogate.core.clock import SystemClock
from thermogate.core.wire import check_telemetry, format_header, parse_points


async def test_what_every_source_reads_travels_as_one_message(tmp_path: Path) -> None:
    tree = AmdTree(tmp_path)
    tree.gpu("0000:05:00.0", MI300X, 0)
    tree.cpus([0])
    tree.hwmon(0, "coretemp", {"Package id 0": 61_000}, crit=100_000)
    tree.write_proc("meminfo", "MemTotal: 1024 kB\nMemFree: 1 kB\nMemAvailable: 512 kB\n")
    host = HostSettings(sysfs_root=str(tree.sysfs), procfs_root=str(tree.procfs), power_timeout_s=30)
    settings = AgentSettings(host=host, period_s=30)
    feed = sampler(settings, SystemClock())
    await feed.open()
    assert [report.source for report in feed.reports()] == ["nvml", "amd", "cpu", "node"]
    pipeline = Pipeline("n1", None, settings.rle, settings.throttle)
    pipeline.describe(feed.devices())
    ticks = feed.ticks()
    tick = await anext(ticks)
    await ticks.aclose()  # type: ignore[attr-defined] # an async generator
    await feed.close()
    lines, _ = pipeline.step(tick.readings, tick.time_ns, tick.elapsed_s)
    payload = format_header("n1", "3f2a", 1) + lines.encode()
    assert check_telemetry("n1", payload).node == "n1"
    points = {(point.measurement, point.device): point for point in parse_points(payload)}
    assert points.keys() >= {("gpu", "amd0"), ("cpu", "0"), ("node", "")}
    assert points["gpu", "amd0"].model == "AMD-Instinct-MI300X-OAM"
    assert "rle" in points["gpu", "amd0"].fields
    assert points["node", ""].fields["mem_available_bytes"] == 512 * 1024
