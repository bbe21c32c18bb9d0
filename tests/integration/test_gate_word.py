"""`thermogate gate` over a real Mosquitto: a word is signed, retained, listed and taken back."""

import asyncio
import getpass
import json

import pytest
from msgspec.structs import replace

from tests.servers import free_port, mosquitto
from tests.signed import DECISION
from thermogate.cli import main as cli
from thermogate.core.gate_messages import Override
from thermogate.core.key_files import TrustedKey
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.signing import SigningKey, TrustedKeys
from thermogate.core.wire import decode, encode, gate_topic, override_topic

pytestmark = pytest.mark.integration
PATIENCE_S = 60
HOLD = ("hold", "node", "n17", "--for", "2h", "--why", "fan is being changed", "--by", "alice")


@pytest.fixture
def key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "data"))
    key = SigningKey.generate()
    key.save(tmp_path / "config" / "thermogate" / "operator.key")
    return key


async def gate(*arguments: str) -> int:
    return await asyncio.to_thread(cli.main, ["gate", *arguments])


async def test_a_word_is_signed_retained_listed_and_taken_back(tmp_path, key, capsys):
    trusted = TrustedKeys((TrustedKey("alice", key.public_bytes, purpose="override"),))
    with mosquitto(tmp_path) as url:
        settings = MqttSettings(url=url)
        assert await gate(*HOLD, "--broker", url) == 0
        said = capsys.readouterr()
        assert "node n17: HOLD from now until" in said.out
        assert "undo: thermogate gate clear node n17" in said.out
        assert "no decision has come of it yet" in said.err  # nobody decides here

        topic = override_topic("node", "n17")
        async with MqttClient(settings, client_id="late", subscribe=(topic,)) as late:
            async with asyncio.timeout(PATIENCE_S):
                (message,) = await late.receive(1)
            word = decode(message.payload, Override)
            trusted.check(message.payload, word)
            assert (message.retained, word.by, word.why) == (True, "alice", "fan is being changed")

            assert await gate("list", "--json", "--broker", url) == 0
            assert json.loads(capsys.readouterr().out)[0]["id"] == word.id
            assert await gate("clear", "node", "n17", "--broker", url) == 0
            assert "HOLD of alice (fan is being changed) is taken back" in capsys.readouterr().out
            async with asyncio.timeout(PATIENCE_S):
                (ended,) = await late.receive(1)
            over = decode(ended.payload, Override)
            trusted.check(ended.payload, over)
            assert over.until_ns <= over.issued_at_ns
        async with MqttClient(settings, client_id="was-away", subscribe=(topic,)) as away:
            async with asyncio.timeout(PATIENCE_S):
                (message,) = await away.receive(1)
        assert (message.retained, message.payload) == (True, ended.payload)
        assert await gate("list", "--broker", url) == 0
        assert "no operator has said anything" in capsys.readouterr().out
        assert await gate("clear", "node", "n17", "--broker", url) == 0
        assert "nothing was said about it" in capsys.readouterr().out


async def test_what_the_gate_makes_of_it_is_told(tmp_path, key, capsys):
    """An answer with the operator's own reason counts; one of before does not."""
    with mosquitto(tmp_path) as url:
        settings = MqttSettings(url=url)
        async with MqttClient(settings, client_id="gate", subscribe=(override_topic("+", "+"),)) as engine:
            asking = asyncio.create_task(gate(*HOLD, "--broker", url))
            async with asyncio.timeout(PATIENCE_S):
                (message,) = await engine.receive(1)
            word = decode(message.payload, Override)
            answer = replace(
                DECISION, policy="operator", issued_at_ns=word.issued_at_ns, why=f"{word.why} (alice)"
            )
            topic = gate_topic("node", "n17")
            await engine.publish(topic, encode(replace(answer, issued_at_ns=word.issued_at_ns - 1)))
            await engine.publish(topic, encode(replace(answer, policy="thermal")))
            await engine.publish(topic, encode(answer))
            assert await asking == 0
        assert "the gate says HOLD of node n17" in capsys.readouterr().out


async def test_a_gate_that_does_not_take_back_what_it_holds_is_told(tmp_path, key, capsys):
    """It does not trust this key, say: an acknowledgement of the broker is not the gate's."""
    with mosquitto(tmp_path) as url:
        settings = MqttSettings(url=url)
        async with MqttClient(settings, client_id="gate", subscribe=(override_topic("+", "+"),)) as engine:
            assert await gate(*HOLD, "--broker", url) == 0
            async with asyncio.timeout(PATIENCE_S):
                (message,) = await engine.receive(1)
            word = decode(message.payload, Override)
            held = replace(DECISION, policy="operator", why=f"{word.why} (alice)")
            topic = gate_topic("node", "n17")
            await engine.publish(topic, encode(held), retain=True)
            capsys.readouterr()
            assert await gate("clear", "node", "n17", "--broker", url) == 0
            assert "no decision has come of it yet" in capsys.readouterr().err

            assert await gate(*HOLD, "--broker", url) == 0
            capsys.readouterr()
            clearing = asyncio.create_task(gate("clear", "node", "n17", "--broker", url))
            async with asyncio.timeout(PATIENCE_S):
                *_, over = await engine.receive(3, least=3)
            issued_ns = decode(over.payload, Override).issued_at_ns
            ruled = replace(DECISION, policy="thermal", issued_at_ns=issued_ns)
            await engine.publish(gate_topic("node", "n18"), encode(replace(ruled, target="n18")))
            await engine.publish(topic, encode(ruled), retain=True)
            assert await clearing == 0
        assert "no decision" not in capsys.readouterr().err


async def test_a_broker_that_is_not_there_is_said(tmp_path, key, capsys):
    config = tmp_path / "thermogate.toml"
    config.write_text(f'[mqtt]\nurl = "mqtt://127.0.0.1:{free_port()}"\nconnect_timeout_s = 0.2\n')
    assert await gate(*HOLD, "--config", str(config)) == 1
    assert "nothing was said: " in capsys.readouterr().err


async def test_a_broker_that_drops_what_it_takes_is_said(tmp_path, key, capsys):
    (tmp_path / "acl").write_text("topic read #\n")
    with mosquitto(tmp_path, extra=f"user {getpass.getuser()}\nacl_file {tmp_path / 'acl'}\n") as url:
        assert await gate(*HOLD, "--broker", url) == 1
        assert await gate("clear", "node", "n17", "--broker", url) == 1
    said = capsys.readouterr()
    assert "taken back" not in said.out
    assert said.err.count("may this user write and read override/#?") == 2
