"""The gate behind a real Mosquitto: telemetry in, retained decisions out, across restarts of either side."""

import asyncio
import contextlib
import time

import msgspec
import pytest

from tests.gates import FAST, GATE, gate
from tests.servers import free_port, mosquitto
from thermogate.analytics.audit.records import parse
from thermogate.analytics.config import RecallSettings
from thermogate.analytics.inputs import recompute
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State
from thermogate.core.errors import UnavailableError
from thermogate.core.gate_messages import Override
from thermogate.core.keyring import ensure_keys
from thermogate.core.model import DeviceInfo, Event, Status
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.signing import SigningKey, TrustedKeys
from thermogate.core.wire import (
    decode,
    encode,
    format_header,
    format_line,
    gate_topic,
    node_topic,
    override_topic,
    parse_points,
)

pytestmark = pytest.mark.integration

NODE = "n17"
START_NS = time.time_ns() - 3600 * NS


class Bench:
    """A node that says what it is told to, and a scheduler that listens."""

    def __init__(self, client):
        self.client = client
        self.second = 0
        self.points = []
        self.inbox = asyncio.Queue()

    async def connected(self):
        await asyncio.wait_for(self.client.wait_connected(), 5)
        await asyncio.sleep(0.2)  # the subscriptions have no other sign that they stand

    async def samples(self, count, *, collapse=0, temp_c=80.0, origin=None, publish=True):
        """`count` samples of a loaded GPU, a second of stamps apart, as fast as they go."""
        for _ in range(count):
            self.second += 1
            fields = {"util_ratio": 0.97, "temp_c": temp_c, "temp_limit_c": 90.0, "collapse": collapse}
            line = format_line("gpu", NODE, "0", "H100", origin, fields, START_NS + self.second * NS)
            payload = format_header(NODE, "ab", self.second) + line.encode()
            self.points += parse_points(payload)
            if publish:
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
                found.append(await late.decision(0.3 if found else 5.0))
        return found


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


async def test_a_node_that_collapses_is_held_and_let_go_and_anyone_who_comes_later_finds_it(broker, tmp_path):
    async with bench(broker) as node, gate(broker, tmp_path) as service:
        await asyncio.sleep(0.3)
        await node.collapse_three_times()
        hold = await node.decision()
        assert (hold.state, hold.mode, hold.target) == ("HOLD", "shadow", NODE)
        assert hold.why == (
            "gpu0 collapsed 3 times in 600 s (HOLD at 3), its efficiency falling as it heats: "
            "start nothing new here, keep to 0.9 of full power and look at the cooling"
        )
        assert [found.id for found in await retained(broker)] == [hold.id]
        await asyncio.sleep(GATE["dwell_s"])
        await node.samples(310)
        run = await node.until("RUN")
        assert run.why == (
            "gpu0 has not collapsed for 300 s (RUN at 300 s): work may go on after 305 s of HOLD"
        )
        assert [found.id for found in await retained(broker)] == [run.id]
        assert service.counters["telemetry_count"] == 385
        assert service.counters["malformed_count"] == 0


async def test_after_a_restart_the_hold_goes_on_and_the_sequence_with_it(broker, tmp_path):
    async with bench(broker) as node:
        async with gate(broker, tmp_path):
            await asyncio.sleep(0.3)
            await node.collapse_three_times()
            hold = await node.decision()
        async with gate(broker, tmp_path):
            await asyncio.sleep(1.0)
            await node.samples(1)
            while (renewed := await node.decision()).id == hold.id:
                pass  # what is in force is said again
            assert (renewed.state, renewed.supersedes, renewed.why) == ("HOLD", hold.id, hold.why)
            await node.samples(310)
            run = await node.until("RUN")
        assert hold.seq < renewed.seq < run.seq


async def test_a_lost_gpu_takes_the_node_out_and_enforce_says_so(broker, tmp_path):
    async with bench(broker) as node, gate(broker, tmp_path, modes={"hardware": "enforce"}):
        await asyncio.sleep(0.3)
        await node.samples(3, temp_c=50.0)
        lost_ns = START_NS + node.second * NS + 1
        lost = Event(node=NODE, event="gpu_lost", time_ns=lost_ns, text="", device_kind="gpu", device="1")
        await node.client.publish(node_topic(NODE, "event"), encode(lost))
        await node.samples(40, temp_c=50.0)
        repair = await node.decision()
        assert (repair.state, repair.mode, repair.pace) == ("REPAIR", "enforce", 0.0)


async def test_the_limit_of_a_retained_inventory_is_known_to_a_gate_that_starts_later(broker, tmp_path):
    async with bench(broker) as node:
        devices = (DeviceInfo(kind="gpu", device="0", model="H100", temp_limit_c=81.0),)
        status = Status(node=NODE, online=True, time_ns=START_NS, devices=devices)
        await node.client.publish(node_topic(NODE, "status"), encode(status), retain=True)
        async with gate(broker, tmp_path):
            await asyncio.sleep(0.3)
            for _ in range(30):
                node.second += 1
                stamp_ns = START_NS + node.second * NS
                line = format_line("gpu", NODE, "0", "", None, {"util_ratio": 1.0, "temp_c": 80.0}, stamp_ns)
                payload = format_header(NODE, "ab", node.second) + line.encode()
                await node.client.publish(node_topic(NODE, "telemetry"), payload)
            assert (await node.decision()).why.startswith("gpu0 works at 80 C")


async def test_what_is_malformed_is_counted_and_harms_nobody(broker, tmp_path):
    async with bench(broker) as node, gate(broker, tmp_path) as service:
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
    async with contextlib.AsyncExitStack() as stack:
        with mosquitto(tmp_path, port=port) as url:
            await stack.enter_async_context(gate(url, tmp_path))
            async with bench(url) as node:
                await asyncio.sleep(0.3)
                await node.collapse_three_times()
                hold = await node.decision()
        with mosquitto(tmp_path, port=port) as url:
            found = []
            while not found:
                found = await retained(url)
            assert [decision.id for decision in found] == [hold.id]


@pytest.mark.parametrize(("reachable", "within_s"), [(True, 1.0), (False, 2.0)])
async def test_it_stops_at_once_and_without_a_broker_within_a_reconnection(
    broker, tmp_path, reachable, within_s
):
    url = broker if reachable else f"mqtt://127.0.0.1:{free_port()}"
    async with gate(url, tmp_path):
        await asyncio.sleep(1.0)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < within_s


async def test_a_decision_is_signed_on_record_and_can_be_made_again(broker, tmp_path):
    async with bench(broker) as node, gate(broker, tmp_path):
        await asyncio.sleep(0.3)
        await node.collapse_three_times()
        hold = await node.decision()
    TrustedKeys.load(tmp_path / "keys" / "trusted").check(encode(hold), hold)
    (record,) = [one for one in records(tmp_path / "audit") if one.decision and hold.id in one.decision]
    assert decode(record.decision.encode(), GateDecision) == hold
    again = recompute(record.unpacked())
    assert again == msgspec.structs.replace(hold, issuer="", signature="")


async def test_what_is_retained_and_not_signed_by_a_gate_of_ours_holds_nothing_and_is_written_over(
    broker, tmp_path
):
    async with bench(broker) as node, gate(broker, tmp_path) as service:
        await asyncio.sleep(0.3)
        await node.collapse_three_times()
        hold = await node.decision()
        forged = SigningKey.generate().seal(msgspec.structs.replace(hold, state="RUN", seq=hold.seq + 10))[1]
        await node.client.publish(gate_topic("node", NODE), forged, retain=True)
        for _ in range(50):
            if [found.id for found in await retained(broker)] == [hold.id]:
                break
        assert service.counters["refused_count"] == 1
        assert [found.id for found in await retained(broker)] == [hold.id]


async def test_what_cannot_be_recorded_is_not_said_until_it_can(broker, tmp_path):
    disk = Disk()
    async with bench(broker) as node, gate(broker, tmp_path, disk=disk.under) as service:
        await asyncio.sleep(0.3)
        await node.collapse_three_times()
        with pytest.raises(TimeoutError):
            await node.decision(1.0)
        assert service.problems == ("decisions cannot be recorded: no space left on device",)
        disk.full = False
        assert (await node.decision()).state == "HOLD"
        assert service.problems == ()


async def test_a_gate_that_starts_again_knows_from_the_store_what_it_had_seen(broker, tmp_path):
    async with bench(broker) as node:
        await node.collapse_three_times(publish=False)
        status = Status(node=NODE, online=True, time_ns=START_NS)
        past = Stored([status], node.points)
        async with gate(broker, tmp_path, past=past, recall=RecallSettings(samples_s=7200.0)):
            await asyncio.sleep(0.3)
            await node.samples(1, collapse=0)
            hold = await node.decision()
            assert hold.why.startswith("gpu0 collapsed 3 times in 600 s")


class Disk:
    """Implements `app.Audit` over the real log: full until it is not."""

    full = True

    def under(self, log):
        self._log = log
        return self

    def append(self, entries):
        if self.full:
            raise UnavailableError("no space left on device")
        self._log.append(entries)


class Stored:
    """Implements `recall.Past`."""

    def __init__(self, statuses, points):
        self._statuses, self._points = statuses, points

    async def statuses(self):
        return self._statuses

    async def events(self, **options):
        return []

    async def decisions(self, **options):
        return []

    async def samples(self, *, start_ns, end_ns, node):
        yield [point for point in self._points if start_ns <= point.time_ns < end_ns]


def records(folder):
    files = sorted(folder.glob("*.jsonl"))
    return [parse(line) for file in files for line in file.read_bytes().splitlines(keepends=True)]


async def test_an_old_decision_of_ours_that_somebody_has_kept_does_not_stay_on_its_topic(broker, tmp_path):
    async with bench(broker) as node, gate(broker, tmp_path):
        await asyncio.sleep(0.3)
        await node.collapse_three_times()
        old = await node.decision()
        await asyncio.sleep(0.8)  # a renewal is due
        await node.samples(1)
        newer = await node.decision()
        assert newer.seq > old.seq
        await node.client.publish(gate_topic("node", NODE), encode(old), retain=True)
        for _ in range(50):
            found = await retained(broker)
            if found and found[0].seq >= newer.seq:
                break
        assert found[0].seq >= newer.seq


async def test_what_an_operator_holds_stays_held_though_gate_and_broker_begin_anew(tmp_path):
    operator, port = SigningKey.generate(), free_port()
    _, trusted = ensure_keys(tmp_path / "keys")
    with trusted.open("a") as file:
        file.write(f"ada {operator.public} for=override\n")
    now_ns = time.time_ns()
    word = Override(
        id="w",
        kind="node",
        target=NODE,
        state=State.HOLD,
        issued_at_ns=now_ns,
        from_ns=now_ns,
        until_ns=now_ns + 3600 * NS,
        why="somebody has a hand in it",
        by="ada",
    )
    _, payload = operator.seal(word)
    with mosquitto(tmp_path, port=port) as url:
        async with bench(url) as side, gate(url, tmp_path):
            await side.client.publish(override_topic("node", NODE), payload, retain=True)
            first = await side.until("HOLD")
            assert first.policy == "operator"
    with mosquitto(tmp_path, port=port) as url:
        async with bench(url) as side, gate(url, tmp_path) as service:
            renewed = await side.decision()
            while renewed.issued_at_ns < first.issued_at_ns + NS:
                renewed = await side.decision()
                assert (renewed.state, renewed.policy, renewed.mode) == ("HOLD", "operator", "enforce")
            assert service.held_count == 1
    forged = (tmp_path / "words.json").read_text().replace("a hand", "a foot")
    (tmp_path / "words.json").write_text(forged)
    with mosquitto(tmp_path, port=port) as url:
        async with gate(url, tmp_path) as service:
            await asyncio.sleep(0.5)
            assert service.counters["refused_count"] == 1
