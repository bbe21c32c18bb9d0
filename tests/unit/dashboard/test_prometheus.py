"""What /metrics tells, read back by Prometheus' own client library."""

import asyncio
import contextlib
import gzip
import socket
import subprocess
import time
from collections.abc import Iterable

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests import servers
from tests.fake_fleet import decision
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import QUICK, serving
from thermogate.collector.counters import Counters
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers, Info
from thermogate.dashboard.dcgm import DCGM_NAMES
from thermogate.dashboard.present import present
from thermogate.dashboard.prometheus import Prometheus
from thermogate.dashboard.prometheus_families import STATES, families
from thermogate.dashboard.prometheus_names import metric_name
from thermogate.dashboard.prometheus_text import labels, text
from thermogate.dashboard.settings import DashboardSettings

NOW_NS = FakeClock().utc_ns()
INFO = Info(version="1.2", now_ns=NOW_NS, started_ns=NOW_NS - 60 * NS, counters={"samples": 12})
H100 = DeviceInfo(
    kind="gpu", device="0", model="H100", name="NVIDIA H100", uuid="GPU-1", bus="00000000:1B:00.0"
)

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def gpu(node="n1", device="0", age_s=0.0, origin="", **fields):
    return Point("gpu", node, device, "H100", origin, fields, NOW_NS - int(age_s * NS))


def status(node="n1", *devices, online=True, **more):
    return Status(node=node, online=online, time_ns=NOW_NS, devices=devices, **more)


def told(points=(), statuses=(), gates=(), *, dcgm_names=True, info=INFO) -> bytes:
    now = present(list(points), list(statuses), list(gates), NOW_NS, DashboardSettings())
    return b"".join(text(families(now, info, dcgm_names=dcgm_names)))


def read(body: bytes) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def only(samples: Samples, name: str) -> tuple[dict[str, str], float]:
    ((of, value),) = samples[name].items()
    return dict(of), value


def test_names_have_base_units_and_counters_end_in_total():
    fields = {field.name: field for m in MEASUREMENTS.values() for field in m.fields}
    names = {
        "power_w": "thermogate_gpu_power_watts",
        "energy_j": "thermogate_gpu_energy_joules_total",
        "temp_c": "thermogate_gpu_temp_celsius",
        "util_ratio": "thermogate_gpu_util_ratio",
        "mem_used_bytes": "thermogate_gpu_mem_used_bytes",
        "sm_clock_hz": "thermogate_gpu_sm_clock_hertz",
        "ecc_corrected_count": "thermogate_gpu_ecc_corrected_total",
        "t_sustain_s": "thermogate_gpu_t_sustain_seconds",
        "spool_depth_count": "thermogate_gpu_spool_depth",
        "rle": "thermogate_gpu_rle",
    }
    assert {name: metric_name("gpu", fields[name]) for name in names} == names


def test_no_two_fields_have_the_same_name():
    names = [metric_name(m.name, field) for m in MEASUREMENTS.values() for field in m.fields]
    assert len(set(names)) == len(names)


def test_a_sample_is_told_with_who_measured_it():
    samples = read(told([gpu(power_w=612.4)], [status("n1", H100)]))
    assert only(samples, "thermogate_gpu_power_watts") == (
        {"node": "n1", "device": "0", "model": "H100"},
        612.4,
    )
    assert only(samples, "thermogate_device_info")[0]["uuid"] == "GPU-1"


def test_what_was_not_measured_is_not_there():
    samples = read(told([gpu(power_w=1.0), gpu(device="1", temp_c=40.0)]))
    assert only(samples, "thermogate_gpu_temp_celsius")[0]["device"] == "1"
    assert "thermogate_gpu_util_ratio" not in samples


def test_a_stale_device_has_a_state_and_no_values():
    samples = read(told([gpu(power_w=1.0), gpu(device="1", age_s=11, power_w=2.0)]))
    for name in ("thermogate_gpu_power_watts", "DCGM_FI_DEV_POWER_USAGE"):
        assert only(samples, name)[1] == 1.0
    states = {dict(of)["device"]: dict(of)["state"] for of in samples["thermogate_device_state"]}
    assert states == {"0": "ok", "1": "stale"}
    times = {dict(of)["device"]: at for of, at in samples["thermogate_device_sample_time_seconds"].items()}
    assert times["0"] - times["1"] == 11


def test_an_offline_node_is_told_to_be_so_and_its_last_values_are_not():
    agent = Point("agent", "n1", "", "", "", {"spool_depth_count": 3.0}, NOW_NS)
    node = Point("node", "n1", "", "", "", {"power_w": 3.0}, NOW_NS)
    online = read(told([gpu(power_w=1.0), agent, node], [status()]))
    assert only(online, "thermogate_node_online")[1] == 1
    assert only(online, "thermogate_agent_spool_depth") == ({"node": "n1"}, 3.0)
    assert only(online, "thermogate_node_power_watts")[1] == 3.0
    offline = read(told([gpu(power_w=1.0), agent, node], [status(online=False)]))
    assert only(offline, "thermogate_node_online")[1] == 0
    measured = [name for name in offline if name.startswith(("thermogate_gpu", "thermogate_agent", "DCGM"))]
    assert measured == []
    assert "thermogate_node_power_watts" not in offline


def test_a_node_that_is_forgotten_is_not_told():
    old = msgspec.structs.replace(status(online=False), time_ns=NOW_NS - 90_000 * NS)
    assert "thermogate_node_online" not in read(told([], [old]))


def test_replayed_and_simulated_nodes_say_so():
    samples = read(told([gpu(origin="replay", temp_c=60.0)], [status(origin="replay")]))
    for name in ("thermogate_gpu_temp_celsius", "DCGM_FI_DEV_GPU_TEMP", "thermogate_node_online"):
        assert only(samples, name)[0]["origin"] == "replay"


def test_decisions_in_force_are_told_and_expired_ones_are_not():
    gates = [
        decision("n1", State.HOLD, "why", now_ns=NOW_NS, id_="1"),
        decision("n2", State.HOLD, "why", now_ns=NOW_NS, id_="2", expires_at_ns=NOW_NS),
    ]
    samples = read(told(gates=gates))
    of, _ = only(samples, "thermogate_gate_state")
    assert (of["target"], of["state"], of["mode"]) == ("n1", "HOLD", "shadow")
    assert only(samples, "thermogate_gate_pace_ratio")[1] == 0.6


def test_the_collectors_counters_are_told():
    samples = read(told())
    assert only(samples, "thermogate_collector_samples_total") == ({}, 12)
    assert only(samples, "thermogate_build_info") == ({"version": "1.2"}, 1)
    assert only(samples, "process_resident_memory_bytes")[1] > 1e6


def test_what_the_collector_has_now_is_a_gauge_and_what_it_counts_a_counter():
    counters = Counters(messages=5, flooding=2).as_dict()
    body = told(info=msgspec.structs.replace(INFO, counters=counters))
    assert counters.keys() >= STATES
    samples = read(body)
    assert samples["thermogate_collector_messages_total"] == {(): 5}
    assert samples["thermogate_collector_flooding"] == {(): 2}
    assert b"# TYPE thermogate_collector_flooding gauge" in body
    assert len([name for name in samples if name.startswith("thermogate_collector_")]) == len(counters)


@pytest.mark.parametrize("name", ['a "b" \\ c', "\\", '"', "}{,=", "grün 冷"])
def test_text_of_others_is_escaped(name):
    of, _ = only(
        read(told([gpu(temp_c=1.0)], [status("n1", msgspec.structs.replace(H100, name=name))])),
        "thermogate_device_info",
    )
    assert of["name"] == name


def test_text_of_others_cannot_end_a_line_or_the_answer():
    name = 'x"} 1\nthermogate_gpu_power_watts{node="n9"} 1\x00\r\x85' + "y" * 1000
    body = told([gpu(temp_c=1.0)], [status("n1", msgspec.structs.replace(H100, name=name))])
    assert b"\x00" not in body
    assert "thermogate_gpu_power_watts" not in read(body)
    assert len(only(read(body), "thermogate_device_info")[0]["name"]) == 256


def test_labels_without_a_value_are_left_out():
    assert labels({"a": "", "b": "x"}) == '{b="x"}'
    assert labels({"a": ""}) == ""


DCGM_SAMPLE = {
    "sm_clock_hz": (1.98e9, {"DCGM_FI_DEV_SM_CLOCK": 1980}),
    "mem_clock_hz": (2.619e9, {"DCGM_FI_DEV_MEM_CLOCK": 2619}),
    "mem_temp_c": (71.0, {"DCGM_FI_DEV_MEMORY_TEMP": 71}),
    "temp_c": (64.0, {"DCGM_FI_DEV_GPU_TEMP": 64}),
    "temp_limit_c": (87.0, {"DCGM_FI_DEV_SLOWDOWN_TEMP": 87}),
    "temp_margin_c": (23.0, {"DCGM_FI_DEV_GPU_TEMP_LIMIT": 23}),
    "power_w": (612.423, {"DCGM_FI_DEV_POWER_USAGE": 612.423}),
    "power_limit_w": (700.0, {"DCGM_FI_DEV_ENFORCED_POWER_LIMIT": 700}),
    "energy_j": (123456789.123, {"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 123456789123}),
    "util_ratio": (0.57, {"DCGM_FI_DEV_GPU_UTIL": 57}),
    "mem_util_ratio": (0.29, {"DCGM_FI_DEV_MEM_COPY_UTIL": 29}),
    "fan_ratio": (0.35, {"DCGM_FI_DEV_FAN_SPEED": 35}),
    "perf_state": (2.0, {"DCGM_FI_DEV_PSTATE": 2}),
    "mem_used_bytes": (50 * 2.0**20, {"DCGM_FI_DEV_FB_USED": 50, "DCGM_FI_DEV_FB_FREE": 81509}),
    "mem_total_bytes": (81559 * 2.0**20, {"DCGM_FI_DEV_FB_TOTAL": 81559}),
    "ecc_corrected_count": (4.0, {"DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": 4}),
    "ecc_uncorrected_count": (1.0, {"DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": 1}),
}


def test_the_names_of_dcgm_have_its_units_and_labels():
    samples = read(told([gpu(**{f: value for f, (value, _) in DCGM_SAMPLE.items()})], [status("n1", H100)]))
    theirs = {name: only(samples, name)[1] for name in samples if name.startswith("DCGM")}
    assert theirs == {name: value for _, names in DCGM_SAMPLE.values() for name, value in names.items()}
    assert only(samples, "DCGM_FI_DEV_GPU_TEMP")[0] == {
        "gpu": "0",
        "UUID": "GPU-1",
        "pci_bus_id": "00000000:1B:00.0",
        "device": "nvidia0",
        "model_name": "NVIDIA H100",
        "Hostname": "n1",
    }


def test_every_name_of_dcgm_is_of_a_field_that_there_is():
    assert {row.field for row in DCGM_NAMES} <= {field.name for field in MEASUREMENTS["gpu"].fields}


@pytest.mark.parametrize("device", ["amd0", "0.1"])
def test_what_dcgm_would_not_tell_so_has_no_name_of_its(device):
    samples = read(told([gpu(device=device, temp_c=60.0)]))
    assert "thermogate_gpu_temp_celsius" in samples
    assert "DCGM_FI_DEV_GPU_TEMP" not in samples


def test_a_uuid_that_is_not_known_is_left_out():
    of, _ = only(read(told([gpu(temp_c=60.0)])), "DCGM_FI_DEV_GPU_TEMP")
    assert of == {"gpu": "0", "device": "nvidia0", "model_name": "H100", "Hostname": "n1"}


def test_the_names_of_dcgm_can_be_switched_off():
    assert b"DCGM" not in told([gpu(temp_c=60.0)], dcgm_names=False)


def everything() -> Iterable[Point]:
    for number, (kind, measurement) in enumerate(MEASUREMENTS.items()):
        device = "0" if kind in ("gpu", "cpu") else ""
        origin = "replay" if number % 2 else ""
        fields = {field.name: 1.5 for field in measurement.fields}
        yield Point(kind, "n1", device, "M1" if device else "", origin, fields, NOW_NS)


def test_promtool_finds_nothing_to_say_about_all_there_can_be():
    body = told(
        everything(), [status("n1", H100)], [decision("n1", State.RUN, "why", now_ns=NOW_NS, id_="1")]
    )
    assert len(read(body)) > len(DCGM_NAMES) + sum(len(m.fields) for m in MEASUREMENTS.values())
    checked = subprocess.run(
        [servers.binary("promtool"), "check", "metrics"], input=body, capture_output=True, timeout=60
    )
    assert (checked.returncode, checked.stderr.decode()) == (0, "")


async def test_it_is_served_compressed_and_by_its_type():
    query = FakeQuery([gpu(device=str(n), power_w=1.0) for n in range(50)])
    async with serving(query, FakeClock()) as client:
        accept = {"Accept-Encoding": "gzip"}
        async with client.get("/metrics", headers=accept, auto_decompress=False) as answer:
            body = await answer.read()
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert answer.headers["Content-Encoding"] == "gzip"
        assert len(read(gzip.decompress(body))["thermogate_gpu_power_watts"]) == 50
        async with client.get("/metrics", headers={"Accept-Encoding": "identity"}) as answer:
            assert len(read(await answer.read())["thermogate_gpu_power_watts"]) == 50


async def test_dcgm_names_are_off_where_the_setting_says_so():
    off = msgspec.structs.replace(QUICK, dcgm_names=False)
    async with serving(FakeQuery([gpu(power_w=1.0)]), FakeClock(), off) as client:
        assert "DCGM" not in await (await client.get("/metrics")).text()


async def test_a_store_that_does_not_answer_is_a_scrape_that_fails():
    query = FakeQuery()
    query.broken = "the disk is gone"
    async with serving(query, FakeClock()) as client, client.get("/metrics") as answer:
        assert answer.status == 503
        assert await answer.text() == "the disk is gone\n"


def read_late(port: int, wait_s: float) -> int:
    """Ask, read nothing for that long, and then how many bytes there are."""
    got = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: identity\r\n\r\n")
        time.sleep(wait_s)
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(1 << 20):
                got += len(piece)
    return got


@pytest.mark.parametrize(("give_up_s", "whole"), [(0.1, False), (60.0, True)])
async def test_a_client_that_does_not_read_is_given_up(give_up_s, whole):
    fields = {field.name: 1.0 for field in MEASUREMENTS["gpu"].fields}
    query = FakeQuery([gpu(f"n{n}", **fields) for n in range(5000)])  # more than sockets hold
    answers = Answers(query, FakeClock(), DashboardSettings())
    app = web.Application()
    app.router.add_get("/metrics", Prometheus(answers, DashboardSettings(), give_up_s=give_up_s).handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    got = await asyncio.to_thread(read_late, runner.addresses[0][1], 0.5)
    await runner.cleanup()
    assert (got > 0.99 * len(told([points[-1] for points in query.points.values()]))) == whole


class Hanging(FakeQuery):
    """A store that never answers."""

    async def latest(self):
        await asyncio.Event().wait()


async def test_a_store_that_hangs_is_a_scrape_that_fails():
    async with serving(Hanging(), FakeClock()) as client, client.get("/metrics") as answer:
        assert answer.status == 503
        assert "not answered for 0.3 s" in await answer.text()
