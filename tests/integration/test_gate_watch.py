"""`GateWatch` on a real Mosquitto: changes, an attacker, a broker that dies, a restart."""

import asyncio
import contextlib
import time

import pytest

from tests.integration.gatekeeper import FAST, gatekeeper
from tests.servers import free_port, mosquitto
from thermogate.core.clock import SystemClock
from thermogate.core.decision import State
from thermogate.core.errors import ConfigError
from thermogate.core.gate_messages import Applied
from thermogate.core.mqtt import MqttSettings
from thermogate.core.signing import SigningKey
from thermogate.core.wire import gate_topic
from thermogate.schedulers.watch import GateWatch
from thermogate.schedulers.watch_settings import WatchSettings

pytestmark = pytest.mark.integration

NODE = ("node", "n17")
APPLIED = Applied(
    scheduler="test",
    host="n0",
    kind="node",
    target="n17",
    decision="",
    seq=1,
    state=State.HOLD,
    mode="enforce",
    outcome="done",
    time_ns=1,
    text="drained",
)


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


@contextlib.asynccontextmanager
async def watching(url, folder, **more):
    settings = WatchSettings(trust_file=str(folder / "trusted"), state_file=str(folder / "state.json"))
    made = GateWatch(MqttSettings(url=url, **FAST), settings, SystemClock(), client_id="watch", **more)
    async with made as watch:
        yield watch


async def until(holds, timeout_s=30.0):
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, "not in time"
        await asyncio.sleep(0.01)


async def next_change(watch, timeout_s=30.0):
    async with asyncio.timeout(timeout_s):
        return await anext(watch.changes())


async def test_changes_come_as_they_are_decided_and_when_they_expire(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as gate, watching(broker, tmp_path) as watch:
        await gate.say(NODE, "HOLD", 0.7, for_s=2.0)
        change = await next_change(watch)
        assert (change.kind, change.target, change.after.state, change.after.pace) == (
            "node",
            "n17",
            "HOLD",
            0.7,
        )
        change = await next_change(watch)
        assert (change.before.state, change.after.state) == ("HOLD", "RUN")


async def test_what_is_retained_is_heard_by_who_comes_later(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as gate:
        await gate.say(NODE, "HOLD")
        async with watching(broker, tmp_path) as watch:
            await asyncio.wait_for(watch.heard.wait(), 30)
            assert watch.standing(*NODE).held


async def test_only_what_is_asked_for_is_followed(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as gate, watching(broker, tmp_path, targets=[NODE]) as watch:
        await asyncio.wait_for(watch.heard.wait(), 30)
        await gate.say(("node", "n18"), "HOLD")
        await gate.say(("job", "n17"), "HOLD")
        await gate.say(NODE, "REPAIR")
        await until(lambda: watch.standing(*NODE).held)
        assert set(watch.standings()) == {NODE}


async def test_an_attacker_on_the_broker_neither_holds_nor_releases_anybody(broker, tmp_path, caplog):
    async with gatekeeper(broker, tmp_path) as gate, watching(broker, tmp_path) as watch:
        old = await gate.say(NODE, "RUN")
        await gate.say(NODE, "HOLD")
        await until(lambda: watch.standing(*NODE).held)
        trusted, gate.key = gate.key, SigningKey.generate()
        await gate.say(NODE, "RUN")
        await gate.say(NODE, "RUN", sign=False)
        gate.key = trusted
        payload = trusted.seal(old)[1]
        await gate.client.publish(gate_topic(*NODE), payload, retain=True)
        await gate.client.publish(gate_topic("node", "n18"), payload, retain=True)
        await gate.client.publish(gate_topic(*NODE), payload.replace(b'"RUN"', b'"HOLD"'), retain=True)
        await gate.client.publish(gate_topic(*NODE), b"", retain=True)
        await gate.client.publish(gate_topic(*NODE), b"\xff" * 1000, retain=True)
        await until(lambda: watch.refused.total() == 7)
        assert watch.standing(*NODE).held
        assert not watch.standing("node", "n18").held
        assert watch.refused == {
            "foreign": 1,
            "unsigned": 2,
            "replayed": 1,
            "misplaced": 1,
            "forged": 1,
            "malformed": 1,
        }


async def test_what_is_in_force_outlives_the_broker_until_it_expires_and_reports_wait(tmp_path):
    port = free_port()
    with mosquitto(tmp_path, port=port) as url:
        async with gatekeeper(url, tmp_path) as gate:
            await gate.say(NODE, "HOLD", for_s=5.0)
            watch_context = watching(url, tmp_path)
            watch = await watch_context.__aenter__()
            await until(lambda: watch.standing(*NODE).held)
    await until(lambda: not watch.connected)
    assert watch.standing(*NODE).held
    watch.report(APPLIED)
    await until(lambda: not watch.standing(*NODE).held)
    with mosquitto(tmp_path, port=port) as url:
        async with gatekeeper(url, tmp_path) as gate:
            await until(lambda: watch.connected)
            watch.report(APPLIED)  # the one that waited may have gone before anybody listened
            assert await gate.heard() == APPLIED
            await until(lambda: not watch._unsent)
        await watch_context.__aexit__(None, None, None)


async def test_after_a_restart_it_knows_what_was_in_force_before_any_broker_tells(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as gate, watching(broker, tmp_path) as watch:
        await gate.say(NODE, "HOLD", 0.4)
        await until(lambda: watch.standing(*NODE).held)
    async with watching(f"mqtt://127.0.0.1:{free_port()}", tmp_path) as watch:
        assert (watch.standing(*NODE).state, watch.standing(*NODE).pace) == ("HOLD", 0.4)


async def test_a_state_file_that_is_damaged_costs_only_itself(broker, tmp_path):
    (tmp_path / "state.json").write_bytes(b'{"seqs":')
    async with gatekeeper(broker, tmp_path), watching(broker, tmp_path) as watch:
        assert watch.standings() == {}


async def test_without_keys_it_does_not_start(tmp_path):
    settings = WatchSettings()
    with pytest.raises(ConfigError, match="thermogate keys"):
        async with GateWatch(MqttSettings(), settings, SystemClock(), client_id="watch", data_dir=tmp_path):
            pass
