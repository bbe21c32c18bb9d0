"""Metrics out over OTLP, read by a receiver that decodes them with OpenTelemetry's own messages."""

import asyncio
import contextlib
import gzip
import logging
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from tests.certificates import Authority
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError
from thermogate.core.model import DeviceInfo, Status
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import Point
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.otlp import Otlp
from thermogate.dashboard.otlp_metrics import requests
from thermogate.dashboard.otlp_names import otlp_name
from thermogate.dashboard.otlp_settings import OtlpSettings
from thermogate.dashboard.present import present
from thermogate.dashboard.settings import DashboardSettings

NOW_NS = FakeClock().utc_ns()
INFO = DeviceInfo(kind="gpu", device="0", model="H100", name="NVIDIA H100")


def gpu(node="n1", device="0", age_s=0, origin="", **fields):
    return Point("gpu", node, device, "H100", origin, fields, NOW_NS - age_s * NS)


def decoded(body: bytes) -> ExportMetricsServiceRequest:
    return ExportMetricsServiceRequest.FromString(gzip.decompress(body))


def told(*points: Point, statuses: tuple[Status, ...] = ()) -> list[ExportMetricsServiceRequest]:
    now = present(points, statuses, (), NOW_NS, DashboardSettings())
    return [decoded(body) for body in requests(now)]


def metrics(request: ExportMetricsServiceRequest):
    """{(node, metric): metric}."""
    return {
        (_text(resource.resource.attributes)["host.name"], metric.name): metric
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def _text(attributes) -> dict[str, str]:
    return {one.key: one.value.string_value for one in attributes}


FIELDS = {(m.name, field.name): field for m in MEASUREMENTS.values() for field in m.fields}


@pytest.mark.parametrize(
    ("measurement", "field", "name", "unit", "kind"),
    [
        ("gpu", "power_w", "hw.power", "W", "gauge"),
        ("gpu", "energy_j", "hw.energy", "J", "counter"),
        ("gpu", "temp_c", "hw.temperature", "Cel", "gauge"),
        ("gpu", "mem_temp_c", "hw.temperature", "Cel", "gauge"),
        ("gpu", "temp_limit_c", "hw.temperature.limit", "Cel", "gauge"),
        ("gpu", "util_ratio", "hw.gpu.utilization", "1", "gauge"),
        ("gpu", "mem_used_bytes", "hw.gpu.memory.usage", "By", "updown"),
        ("gpu", "mem_total_bytes", "hw.gpu.memory.limit", "By", "updown"),
        ("gpu", "ecc_corrected_count", "hw.errors", "{error}", "counter"),
        ("gpu", "fan_ratio", "hw.fan.speed_ratio", "1", "gauge"),
        ("cpu", "clock_hz", "hw.cpu.speed", "Hz", "gauge"),
        ("node", "power_w", "hw.host.power", "W", "gauge"),
        ("gpu", "rle", "thermogate.gpu.rle", "1", "gauge"),
        ("gpu", "t_sustain_s", "thermogate.gpu.t_sustain", "s", "gauge"),
        ("gpu", "mem_util_ratio", "thermogate.gpu.mem_util", "1", "gauge"),
        ("agent", "ticks_count", "thermogate.agent.ticks", "1", "counter"),
    ],
)
def test_names_are_those_of_the_conventions_where_there_are_any(measurement, field, name, unit, kind):
    made = otlp_name(measurement, FIELDS[measurement, field])
    assert (made.name, made.unit, made.kind) == (name, unit, kind)


def test_a_name_has_one_unit_and_kind_and_two_fields_of_a_device_never_make_the_same_point():
    made = {key: otlp_name(key[0], field) for key, field in FIELDS.items()}
    assert len({name.name for name in made.values()}) == len(
        {(name.name, name.unit, name.kind) for name in made.values()}
    )
    points = [(kind, name.name, name.part, *name.attributes.items()) for (kind, _), name in made.items()]
    assert len(set(points)) == len(points)


def test_a_sample_has_its_node_its_device_and_its_time():
    status = Status(node="n1", online=True, time_ns=NOW_NS, devices=(INFO,))
    (request,) = told(gpu(age_s=2, power_w=612.4, energy_j=5.0, temp_c=61.0), statuses=(status,))
    found = metrics(request)
    (point,) = found["n1", "hw.power"].gauge.data_points
    assert (point.as_double, point.time_unix_nano) == (612.4, NOW_NS - 2 * NS)
    assert _text(point.attributes) == {
        "hw.id": "gpu0",
        "hw.type": "gpu",
        "hw.model": "H100",
        "hw.name": "NVIDIA H100",
    }
    energy = found["n1", "hw.energy"]
    assert energy.unit == "J"
    assert energy.sum.is_monotonic
    (sensor,) = found["n1", "hw.temperature"].gauge.data_points
    assert _text(sensor.attributes) == {
        "hw.id": "gpu0.temp",
        "hw.parent": "gpu0",
        "hw.sensor_location": "die",
    }


def test_every_field_is_told_once():
    fields = {field.name: 2.0 for field in MEASUREMENTS["gpu"].fields}
    (request,) = told(gpu(**fields))
    count = sum(
        len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in metrics(request).values()
    )
    assert count == len(fields)


def test_what_is_silent_is_not_told_and_what_is_replayed_says_so():
    (request,) = told(gpu(power_w=1.0), gpu("n2", age_s=60, power_w=1.0), gpu("n3", origin="replay", rle=1.0))
    assert set(metrics(request)) == {("n1", "hw.power"), ("n3", "thermogate.gpu.rle")}
    origins = [_text(one.resource.attributes).get("thermogate.origin") for one in request.resource_metrics]
    assert origins == [None, "replay"]


def test_a_large_fleet_is_told_in_several_requests():
    told_nodes = [
        {node for node, _ in metrics(request)}
        for request in told(*(gpu(f"n{n}", rle=1.0) for n in range(130)))
    ]
    assert [len(nodes) for nodes in told_nodes] == [64, 64, 2]
    assert len(set.union(*told_nodes)) == 130


class Receiver:
    """An OTLP/HTTP receiver that answers as it is told to."""

    def __init__(self) -> None:
        self.url = ""
        self.got: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.location = ""
        self.hang = False
        self.rejects = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()  # unpacked by aiohttp
        self.headers.append(dict(request.headers))
        if self.hang:
            await asyncio.sleep(60)
        if self.status == 200:
            self.got.append(ExportMetricsServiceRequest.FromString(body))
        answer = ExportMetricsServiceResponse()
        if self.rejects:
            answer.partial_success.rejected_data_points = self.rejects
            answer.partial_success.error_message = "too old"
        headers = {"Location": self.location} if self.location else {}
        return web.Response(status=self.status, body=answer.SerializeToString(), headers=headers)


@contextlib.asynccontextmanager
async def receiving(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1/metrics", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    scheme = "https://localhost" if tls else "http://127.0.0.1"
    receiver.url = f"{scheme}:{runner.addresses[0][1]}/v1/metrics"
    try:
        yield receiver
    finally:
        await runner.cleanup()


class Ticking(FakeClock):
    """A clock on which each wait takes a moment of real time, so that the network has its turn."""

    async def sleep_until(self, steady_s: float) -> None:
        await asyncio.sleep(0.01)
        self.pass_time(max(0.0, steady_s - self.steady_s()))


@contextlib.asynccontextmanager
async def pushing(url: str, query: FakeQuery | None = None, **settings: object) -> AsyncIterator[FakeQuery]:
    query = query or FakeQuery([gpu(power_w=612.4)])
    # a sample is live for as long as a test lasts
    limits = DashboardSettings(stale_after_s=1e9, store_timeout_s=5)
    answers = Answers(query, Ticking(), limits)
    asked = msgspec.convert({"endpoint": url, "timeout_s": 5.0, **settings}, OtlpSettings)
    async with Otlp(answers, asked) as otlp:
        task = asyncio.create_task(otlp.run())
        yield query
        assert not task.done()
        task.cancel()


async def until(true) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_receiver_gets_the_values_and_the_headers_of_the_file(tmp_path):
    file = tmp_path / "headers"
    file.write_text("# for the receiver\nAuthorization: Bearer geheim\nX-Scope-OrgID: 7\n")
    async with receiving() as receiver, pushing(receiver.url, headers_file=str(file)):
        await until(lambda: len(receiver.got) > 1)
    headers = receiver.headers[0]
    assert headers["Content-Type"] == "application/x-protobuf"
    assert headers["Content-Encoding"] == "gzip"
    assert (headers["Authorization"], headers["X-Scope-OrgID"]) == ("Bearer geheim", "7")
    (point,) = metrics(receiver.got[0])["n1", "hw.power"].gauge.data_points
    assert point.as_double == 612.4


async def test_a_receiver_that_is_down_is_told_once_and_found_again(caplog):
    caplog.set_level(logging.INFO, "thermogate")
    async with receiving() as gone:
        pass
    port = int(gone.url.split(":")[2].split("/")[0])
    async with pushing(gone.url) as query:
        await until(lambda: caplog.records)
        await asyncio.sleep(0.2)  # several more pushes fail
        assert len(caplog.records) == 1
        assert "Cannot connect" in caplog.text
        async with receiving(port) as receiver:
            await until(lambda: receiver.got and "works again" in caplog.text)
        assert query.broken == ""


@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
async def test_a_receiver_that_refuses_is_told(status, caplog):
    async with receiving() as receiver:
        receiver.status = status
        async with pushing(receiver.url):
            await until(lambda: len(receiver.headers) > 2)
    assert len(caplog.records) == 1
    assert f": status {status};" in caplog.text


async def test_a_receiver_that_hangs_is_given_up(caplog):
    async with receiving() as receiver:
        receiver.hang = True
        async with pushing(receiver.url, timeout_s=0.1):
            await until(lambda: len(receiver.headers) > 1)
    assert len(caplog.records) == 1


async def test_headers_are_not_carried_to_where_a_receiver_points(tmp_path, caplog):
    file = tmp_path / "headers"
    file.write_text("X-Token: geheim")
    async with receiving() as elsewhere, receiving() as receiver:
        receiver.status, receiver.location = 307, elsewhere.url
        async with pushing(receiver.url, headers_file=str(file)):
            await until(lambda: len(receiver.headers) > 1)
        assert elsewhere.headers == []
    assert "307" in caplog.text


async def test_values_that_a_receiver_rejects_are_told(caplog):
    async with receiving() as receiver:
        receiver.rejects = 3
        async with pushing(receiver.url):
            await until(lambda: len(receiver.got) > 1)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "3 values rejected: 'too old'; again every 60 s"
    ]


async def test_a_store_that_does_not_answer_is_told_and_waited_for(caplog):
    caplog.set_level(logging.INFO, "thermogate")
    query = FakeQuery([gpu(power_w=1.0)])
    query.broken = "the disk is gone"
    async with receiving() as receiver, pushing(receiver.url, query):
        await until(lambda: "the disk is gone" in caplog.text)
        query.broken = ""
        await until(lambda: receiver.got)


async def test_tls_trusts_the_authority_of_the_setting_and_no_other(tmp_path, caplog):
    ours = Authority(tmp_path)
    pair = ours.pair("otel")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.cert, pair.key)
    async with receiving(tls=tls) as receiver:
        async with pushing(receiver.url, ca_file=str(ours.certificate)):
            await until(lambda: receiver.got)
        receiver.got.clear()
        async with pushing(receiver.url):
            await until(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert receiver.got == []


@pytest.mark.parametrize(
    ("setting", "text", "named"),
    [
        ("endpoint", "otel:4318", "otlp.endpoint: 'otel:4318' is no http:// or https:// URL"),
        ("headers_file", "/nowhere/headers", "otlp.headers_file /nowhere/headers: cannot read it"),
        ("ca_file", "/nowhere/ca.pem", "otlp.ca_file /nowhere/ca.pem: cannot read certificates"),
    ],
)
async def test_a_setting_that_is_wrong_is_named(setting, text, named):
    settings = OtlpSettings(**{"endpoint": "http://127.0.0.1:1/v1/metrics", setting: text})
    with pytest.raises(ConfigError, match=named):
        await Otlp(Answers(FakeQuery(), FakeClock(), DashboardSettings()), settings).__aenter__()


@pytest.mark.parametrize("text", ["geheim\n", "a b: geheim\n", "Authorization: geheim\0\n"])
async def test_a_file_that_holds_no_headers_is_named_and_not_shown(tmp_path, text):
    file = tmp_path / "headers"
    file.write_text(text)
    settings = OtlpSettings(endpoint="http://127.0.0.1:1", headers_file=str(file))
    with pytest.raises(ConfigError, match="expected lines NAME: VALUE") as caught:
        await Otlp(Answers(FakeQuery(), FakeClock(), DashboardSettings()), settings).__aenter__()
    assert "geheim" not in str(caught.value)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path):
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from thermogate.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["collector", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--for", "20s"]
    arguments += ["--set", "otlp.endpoint=http://127.0.0.1:1/v1/metrics"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 78
    assert "pip install 'thermogate[otlp]'" in ended.stderr
