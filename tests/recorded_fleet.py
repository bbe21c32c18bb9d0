"""Nodes whose devices repeat what real ones were recorded doing, as agents publish it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.fake_query import recorded
from thermogate.core.clock import NS
from thermogate.core.model import DeviceInfo, Event, Origin, Status
from thermogate.core.wire import format_header, format_line

SESSIONS = Path(__file__).parent / "recordings" / "rle_sessions"
MODEL = "RTX-3060-Ti"

_NOT_RECORDED: dict[str, float] = {
    "energy_j": 1_000_000.0,
    "temp_margin_c": 20.0,
    "power_limit_w": 200.0,
    "temp_limit_c": 83.0,
    "perf_state": 2,
    "throttled": 0,
    "clock_event_sw_power_cap": 1,
    "clock_event_hw_thermal": 0,
    "mem_temp_c": 70.0,
    "mem_util_ratio": 0.4,
    "mem_used_bytes": 3 << 30,
    "mem_total_bytes": 8 << 30,
    "sm_clock_hz": 1.8e9,
    "mem_clock_hz": 7e9,
    "fan_ratio": 0.5,
    "ecc_corrected_count": 1,
    "ecc_uncorrected_count": 0,
}
"""What the recorder of the sessions did not write down."""

_NODE = {
    "power_w": 900.0,
    "mem_total_bytes": 512 << 30,
    "mem_available_bytes": 300 << 30,
    "cpu_stall_some_ratio": 0.01,
    "mem_stall_some_ratio": 0.0,
    "io_stall_some_ratio": 0.02,
}
_AGENT = {
    "ticks_count": 1000,
    "late_count": 1,
    "skipped_count": 0,
    "spool_depth_count": 3,
    "spool_bytes": 1 << 20,
    "spool_dropped_count": 0,
    "spool_lost_count": 0,
    "spool_oldest_s": 2.0,
    "ack_age_s": 1.5,
    "sweep_s": 0.01,
    "cpu_s": 12.5,
    "rss_bytes": 30 << 20,
}


class RecordedFleet:
    """`gpus` GPUs and a CPU on each node; a payload a node a second."""

    def __init__(
        self, nodes: Sequence[str], *, gpus: int = 2, replayed: Iterable[str] = (), model: str = MODEL
    ) -> None:
        self.nodes = list(nodes)
        self._gpus = gpus
        self._replayed = frozenset(replayed)
        self._model = model
        self._gpu = recorded(SESSIONS / "monitor_gpu_light.csv", node="", end_ns=0)

    def telemetry(self, time_ns: int, without: Iterable[tuple[str, str]] = ()) -> list[bytes]:
        """What every node publishes at this second, without the GPUs (node, device) named."""
        left_out = set(without)
        return [self._payload(place, node, time_ns, left_out) for place, node in enumerate(self.nodes)]

    def signals(self, time_ns: int) -> list[bytes]:
        """The signals of every GPU, a payload a node, as a collector gives them to its store."""
        fields = {"volatility": 1.1, "overload": 0.4, "incoherence": 0.05, "repair_severity": 0.1}
        payloads = []
        for node in self.nodes:
            lines = (
                format_line("signal", node, f"gpu{number}", "", self._origin(node), fields, time_ns)
                for number in range(self._gpus)
            )
            payloads.append(format_header(node, "0", 0) + "".join(lines).encode())
        return payloads

    def statuses(self, time_ns: int, *, online: bool = True) -> list[Status]:
        return [
            Status(
                node=node,
                online=online,
                time_ns=time_ns,
                version="0.1",
                origin=self._origin(node),
                devices=tuple(
                    DeviceInfo(
                        kind="gpu",
                        device=str(number),
                        model=self._model,
                        name=self._model.replace("-", " "),
                        uuid=f"GPU-{node}-{number}",
                        bus=f"00000000:{number:02X}:00.0",
                    )
                    for number in range(self._gpus)
                ),
            )
            for node in self.nodes
        ]

    def event(self, time_ns: int) -> Event:
        return Event(
            node=self.nodes[0],
            event="collapse_began",
            time_ns=time_ns,
            text="RLE 0.13 fell below 65 % of its peak 0.21",
            device_kind="gpu",
            device="0",
        )

    def _payload(self, place: int, node: str, time_ns: int, without: set[tuple[str, str]]) -> bytes:
        second, origin = time_ns // NS, self._origin(node)
        lines = ""
        for number in range(self._gpus):
            if (node, str(number)) in without:
                continue
            fields = self._gpu[(second + 37 * (place + number)) % len(self._gpu)].fields
            energy = {"energy_j": _NOT_RECORDED["energy_j"] + 150.0 * (second % 86_400)}
            fields = {**_NOT_RECORDED, **energy, **fields}
            lines += format_line("gpu", node, str(number), self._model, origin, fields, time_ns)
        cpu = {"power_w": 90.0, "temp_c": 55.0, "util_ratio": 0.3, "clock_hz": 3.6e9, "rle": 0.5}
        lines += format_line("cpu", node, "0", "Ryzen", origin, cpu, time_ns)
        lines += format_line("node", node, "", "", origin, _NODE, time_ns)
        lines += format_line("agent", node, "", "", origin, _AGENT, time_ns)
        return format_header(node, "0a", second) + lines.encode()

    def _origin(self, node: str) -> Origin | None:
        return "replay" if node in self._replayed else None
