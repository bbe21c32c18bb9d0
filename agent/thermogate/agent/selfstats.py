"""What the agent itself costs and holds back, as a line of telemetry."""

import resource
import time
from collections.abc import Mapping
from pathlib import Path

from thermogate.agent.spool import Spool
from thermogate.core.wire import format_line

_PAGE_BYTES = resource.getpagesize()


def line(node: str, counters: Mapping[str, float], spool: Spool, time_ns: int) -> str:
    """One `agent` line: the feed's counters, the spool, processor time and memory of this process."""
    fields: dict[str, float | int] = {
        **counters,
        "spool_depth_count": spool.depth,
        "spool_bytes": spool.bytes,
        "spool_dropped_count": spool.dropped,
        "cpu_s": time.process_time(),
        "rss_bytes": _resident_pages() * _PAGE_BYTES,
    }
    return format_line("agent", node, "", "", None, fields, time_ns)


def _resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
