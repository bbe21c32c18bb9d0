"""The gate behind a real Mosquitto: telemetry in, retained decisions out, across restarts of either side."""

import asyncio
import contextlib
import time

import pytest

from tests.servers import free_port, mosquitto
from thermogate.analytics.app import Analytics
from thermogate.analytics.config import AnalyticsSettings, GateSettings
from thermogate.core.clock import NS, SystemClock
from thermogate.core.decision import GateDecision
from thermogate.core.model import DeviceInfo, Event, Status
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import decode, encode, format_header, format_line, gate_topic, node_topic

pytestmark = pytest.mark.integration

NODE = "n17"
FAST = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2}
GATE = GateSettings(ttl_s=60.0, renew_share=0.01, dwell_s=0.3)
"""The wall clock runs faster here; the thresholds of the policy keep to the stamps of the samples."""
START_NS = time.time_ns() - 3600 * NS


@contextlib.asynccontextmanager
async def analytics(url, **gate):
    """The gate, running; stopped and waited for at the end."""
    settings = AnalyticsSettings(
        gate=GateSettings(**{"ttl_s": GATE.ttl_s, "renew_share": 0.01, "dwell_s": GATE.dwell_s, **gate}),
    )
    stop = asyncio.Event()
    service = Analytics(settings, MqttSettings(url=url, **FAST), SystemClock())
    task = asyncio.create_task(service.run(stop))
    try:
        yield service
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)


class Bench:
    """A node that says what it is told to, and a scheduler that listens."""

    def __init__(self, client):
        self.client = client
        self.second = 0
        self.inbox = asyncio.Queue()

    async def connected(self):
        await asyncio.wait_for(self.client.wait_connected(), 5)
        await asyncio.sleep(0.2)  # the subscriptions have no other sign that they stand

    async def samples(self, count, *, collapse=0, temp_c=80.0, origin=None):
        """`count` samples of a loaded GPU, a second of stamps apart, as fast as they go."""
        for _ in range(count):
            self.second += 1
            fields = {"util_ratio": 0.97, "temp_c": temp_c, "temp_limit_c": 90.0, "collapse": collapse}
            line = format_line("gpu", NODE, "0", "H100", origin, fields, START_NS + self.second * NS)
            payload = format_header(NODE, "ab", self.second) + line.encode()
            await self.client.publish(node_topic(NODE, "telemetry"), payload)

    async def collapse_three_times(self, **options):
        for _ in range(3):
            await self.samples(20, collapse=0, **options)
            await self.samples(5, collapse=1, **options)

    async def decision(self, timeout_s=5.0):
        """The next decision that passes, within `timeout_s`."""
        while self.inbox.empty():
            for message in await asyncio.wait_for(self.client.receive(100), timeout_s):
                self.inbox.put_nowait(decode(message.payload, GateDecision))
        return self.inbox.get_nowait()

    async def until(self, state):
        """The next decision of this state."""
        while (decision := await self.decision()).state != state:
            pass
        return decision


@contextlib.asynccontextmanager
async def bench(url, name="bench"):
    client = MqttClient(MqttSettings(url=url, **FAST), client_id=name, subscribe=(gate_topic("node", "+"),))
    async with client:
        side = Bench(client)
        await side.connected()
        yield side


async def retained(url):
    """The decisions that a scheduler finds when it comes now."""
    async with bench(url, "late") as late:
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(await late.decision(0.3))
        return found


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


async def test_a_node_that_collapses_is_held_and_let_go_and_anyone_who_comes_later_finds_it(broker):
    async with bench(broker) as node, analytics(broker) as service:
        await asyncio.sleep(0.3)
        await node.collapse_three_times()
        hold = await node.decision()
        assert (hold.state, hold.mode, hold.target) == ("HOLD", "shadow", NODE)
        assert hold.why == (
            "gpu0 collapsed 3 times in 600 s (HOLD at 3), its efficiency falling as it heats: "
            "start nothing new here, keep to 0.9 of full power and look at the cooling"
        )
        assert [found.id for found in await retained(broker)] == [hold.id]
        await asyncio.sleep(GATE.dwell_s)
        await node.samples(310)
        run = await node.until("RUN")
        assert run.why == (
            "gpu0 has not collapsed for 300 s (RUN at 300 s): work may go on after 305 s of HOLD"
        )
        assert [found.id for found in await retained(broker)] == [run.id]
        assert service.counters["telemetry_count"] == 385
        assert service.counters["malformed_count"] == 0


async def test_after_a_restart_the_hold_goes_on_and_the_sequence_with_it(broker):
    async with bench(broker) as node:
        async with analytics(broker):
            await asyncio.sleep(0.3)
            await node.collapse_three_times()
            hold = await node.decision()
        async with analytics(broker):
            await asyncio.sleep(1.0)
            await node.samples(1)
            renewed = await node.decision()
            assert (renewed.state, renewed.supersedes, renewed.why) == ("HOLD", hold.id, hold.why)
            await node.samples(310)
            run = await node.until("RUN")
        assert hold.seq < renewed.seq < run.seq


async def test_a_lost_gpu_takes_the_node_out_and_enforce_says_so(broker):
    async with bench(broker) as node, analytics(broker, mode="enforce"):
        await asyncio.sleep(0.3)
        await node.samples(3, temp_c=50.0)
        lost_ns = START_NS + node.second * NS + 1
        lost = Event(node=NODE, event="gpu_lost", time_ns=lost_ns, text="", device_kind="gpu", device="1")
        await node.client.publish(node_topic(NODE, "event"), encode(lost))
        await node.samples(40, temp_c=50.0)
        repair = await node.decision()
        assert (repair.state, repair.mode, repair.pace) == ("REPAIR", "enforce", 0.0)


async def test_the_limit_of_a_retained_inventory_is_known_to_a_gate_that_starts_later(broker):
    async with bench(broker) as node:
        devices = (DeviceInfo(kind="gpu", device="0", model="H100", temp_limit_c=81.0),)
        status = Status(node=NODE, online=True, time_ns=START_NS, devices=devices)
        await node.client.publish(node_topic(NODE, "status"), encode(status), retain=True)
        async with analytics(broker):
            await asyncio.sleep(0.3)
            for _ in range(30):
                node.second += 1
                stamp_ns = START_NS + node.second * NS
                line = format_line("gpu", NODE, "0", "", None, {"util_ratio": 1.0, "temp_c": 80.0}, stamp_ns)
                payload = format_header(NODE, "ab", node.second) + line.encode()
                await node.client.publish(node_topic(NODE, "telemetry"), payload)
            assert (await node.decision()).why.startswith("gpu0 works at 80 C")


async def test_what_is_malformed_is_counted_and_harms_nobody(broker):
    async with bench(broker) as node, analytics(broker) as service:
        await asyncio.sleep(0.3)
        for leaf in ("telemetry", "event", "status"):
            await node.client.publish(node_topic(NODE, leaf), b"\xff\x00 garbage")
        await node.client.publish(gate_topic("node", NODE), b"garbage", retain=True)
        await node.client.publish(gate_topic("node", NODE), b"", retain=True)
        await asyncio.sleep(0.2)
        await node.client.receive(100)
        await node.collapse_three_times(origin="replay")
        hold = await node.decision()
        assert hold.why.endswith("(replay)")
        assert service.counters["malformed_count"] == 4


async def test_a_broker_that_has_forgotten_everything_is_told_again(tmp_path):
    port = free_port()
    async with contextlib.AsyncExitStack() as gate:
        with mosquitto(tmp_path, port=port) as url:
            await gate.enter_async_context(analytics(url))
            async with bench(url) as node:
                await asyncio.sleep(0.3)
                await node.collapse_three_times()
                hold = await node.decision()
        with mosquitto(tmp_path, port=port) as url:
            found = []
            while not found:
                found = await retained(url)
            assert [decision.id for decision in found] == [hold.id]


@pytest.mark.parametrize(("reachable", "within_s"), [(True, 0.5), (False, 1.5)])
async def test_it_stops_at_once_and_without_a_broker_within_a_reconnection(broker, reachable, within_s):
    url = broker if reachable else f"mqtt://127.0.0.1:{free_port()}"
    stop = asyncio.Event()
    settings = AnalyticsSettings()
    task = asyncio.create_task(Analytics(settings, MqttSettings(url=url), SystemClock()).run(stop))
    await asyncio.sleep(1.0)
    began_s = time.monotonic()
    stop.set()
    await asyncio.wait_for(task, 5)
    assert time.monotonic() - began_s < within_s
