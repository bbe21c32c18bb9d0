"""An attacker who may write on the broker, against what a scheduler admits behind a real Mosquitto."""

import asyncio
import time
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from tests.servers import mosquitto
from tests.signed import DECISION, OVERRIDE
from thermogate.core import wire
from thermogate.core.admission import Admission
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision, State, new_ulid
from thermogate.core.errors import SignatureError, WireError
from thermogate.core.key_files import TrustedKey
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.signing import SigningKey, TrustedKeys

pytestmark = pytest.mark.integration

TOPIC = wire.gate_topic("node", "n17")
PATIENCE_S = 60


class Trial(NamedTuple):
    """A broker with the attacker on it, the key of the gate, and the door of a scheduler."""

    broker: MqttClient
    door: MqttClient
    gate: SigningKey
    admission: Admission
    trusted: TrustedKeys

    async def publish(self, payload: bytes, topic: str = TOPIC) -> str:
        """Publish, retained, and say what became of it at the door: a state, or why not."""
        await self.broker.publish(topic, payload, retain=True)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in await self.door.receive(1):
                    if (message.topic, message.payload) == (topic, payload):
                        return self.admit(message.topic, message.payload)

    def admit(self, topic: str, payload: bytes) -> str:
        try:
            return str(self.admission.admit(topic, payload, time.time_ns()).state)
        except SignatureError as err:
            return err.reason
        except WireError as err:
            return f"malformed: {err}"


@pytest.fixture
async def trial(tmp_path):
    gate, operator = SigningKey.generate(), SigningKey.generate()
    file = tmp_path / "trusted"
    lines = [TrustedKey("gate", gate.public_bytes, purpose="decision").line]
    lines.append(TrustedKey("alice", operator.public_bytes, purpose="override").line)
    file.write_text("\n".join(lines) + "\n")
    trusted = TrustedKeys.load(file)
    with mosquitto(tmp_path) as url:
        settings = MqttSettings(url=url)
        async with (
            MqttClient(settings, client_id="attacker") as broker,
            MqttClient(settings, client_id="scheduler", subscribe=(f"{wire.ROOT}/#",)) as door,
        ):
            async with asyncio.timeout(PATIENCE_S):
                await broker.wait_connected()
                await door.wait_connected()
            yield Trial(broker, door, gate, Admission(trusted, max_skew_s=5), trusted)


def decision(seq: int, state: State = State.HOLD, age_s: float = 0.0, **changes) -> GateDecision:
    """A decision that the gate could have made, `age_s` ago."""
    issued_ns = time.time_ns() - round(age_s * NS)
    made = replace(
        DECISION,
        id=new_ulid(issued_ns),
        seq=seq,
        state=state,
        issued_at_ns=issued_ns,
        expires_at_ns=issued_ns + 120 * NS,
    )
    return replace(made, **changes)


async def test_what_the_gate_says_passes_and_again_after_a_new_connection(trial):
    payload = trial.gate.seal(decision(1))[1]
    assert await trial.publish(payload) == "HOLD"
    assert await trial.publish(payload) == "HOLD"
    assert await trial.publish(trial.gate.seal(decision(2, State.RUN))[1]) == "RUN"


async def test_what_nobody_or_a_stranger_signed_is_refused(trial):
    assert await trial.publish(wire.encode(decision(1))) == "unsigned"
    stranger = SigningKey.generate()
    sealed, payload = stranger.seal(decision(1))
    assert await trial.publish(payload) == "foreign"
    posing = wire.encode(replace(sealed, issuer=trial.gate.key_id))
    assert await trial.publish(posing) == "forged"
    assert trial.admission.seqs == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"state":"HOLD"', b'"state":"RUN"'),
        (b'"pace":0.7', b'"pace":0.1'),
        (b'"mode":"enforce"', b'"mode":"shadow"'),
        (b'"seq":1', b'"seq":9'),
        (b"85", b"58"),
    ],
)
async def test_a_field_changed_under_a_good_signature_is_refused(trial, old, new):
    payload = trial.gate.seal(decision(1))[1]
    assert old in payload
    assert await trial.publish(payload.replace(old, new, 1)) == "forged"
    assert await trial.publish(payload) == "HOLD"


async def test_an_end_pushed_into_the_future_is_refused(trial):
    sealed, payload = trial.gate.seal(decision(1))
    longer = str(sealed.expires_at_ns + 3600 * NS).encode()
    assert await trial.publish(payload.replace(str(sealed.expires_at_ns).encode(), longer)) == "forged"


async def test_an_old_run_does_not_lift_a_hold_nor_an_old_hold_stop_a_run(trial):
    old_run = trial.gate.seal(decision(1, State.RUN, age_s=60))[1]
    hold = trial.gate.seal(decision(2, age_s=30))[1]
    assert await trial.publish(old_run) == "RUN"
    assert await trial.publish(hold) == "HOLD"
    assert await trial.publish(old_run) == "replayed"
    assert await trial.publish(trial.gate.seal(decision(3, State.RUN))[1]) == "RUN"
    assert await trial.publish(hold) == "replayed"
    restarted = trial._replace(admission=Admission(trial.trusted, 5, dict(trial.admission.seqs)))
    assert await restarted.publish(hold) == "replayed"


async def test_another_decision_under_the_same_number_is_refused(trial):
    assert await trial.publish(trial.gate.seal(decision(1))[1]) == "HOLD"
    assert await trial.publish(trial.gate.seal(decision(1, State.RUN))[1]) == "replayed"


async def test_what_has_expired_or_comes_from_the_future_is_refused(trial):
    assert await trial.publish(trial.gate.seal(decision(1, age_s=121))[1]) == "expired"
    assert await trial.publish(trial.gate.seal(decision(2, age_s=-60))[1]) == "future"
    assert await trial.publish(trial.gate.seal(decision(2))[1]) == "HOLD"


async def test_an_override_does_not_pose_as_a_decision(trial):
    """Not as it is, not with the members of a decision signed as an override, not by an operator's key."""
    word = replace(OVERRIDE, issued_at_ns=time.time_ns())
    assert (await trial.publish(trial.gate.seal(word)[1])).startswith("malformed: not a valid GateDecision")
    posing = Override(**{name: getattr(decision(1), name) for name in GateDecision.__struct_fields__})
    assert await trial.publish(trial.gate.seal(posing)[1]) == "forged"


async def test_the_key_of_an_operator_makes_no_decision(trial, tmp_path):
    operator = SigningKey.generate()
    with (tmp_path / "trusted").open("a") as file:
        file.write(TrustedKey("bob", operator.public_bytes, purpose="override").line + "\n")
    assert await trial.publish(operator.seal(decision(1))[1]) == "purpose"


class Override(GateDecision, frozen=True, omit_defaults=True, kw_only=True):
    """What an operator's key would sign: the name of the kind of message goes into the signature."""


async def test_a_decision_of_another_target_is_refused_here(trial):
    other = trial.gate.seal(decision(1, State.REPAIR, target="n18"))[1]
    assert await trial.publish(other) == "misplaced"
    assert await trial.publish(other, wire.gate_topic("job", "n18")) == "misplaced"
    assert await trial.publish(other, wire.gate_topic("node", "n18")) == "REPAIR"


async def test_members_that_stand_twice_are_refused(trial):
    sealed, payload = trial.gate.seal(decision(1))
    signature = f',"signature":"{sealed.signature}"'.encode()
    for changed in (
        payload.replace(b'"state":"HOLD"', b'"state":"HOLD","state":"RUN"'),
        payload.replace(b'"state":"HOLD"', b'"state":"RUN","state":"HOLD"'),
        payload[:-1] + b',"state":"RUN"}',
        payload[:-1] + b',"state":"RUN"' + signature + b"}",
        payload.replace(b'{"id"', b"{" + signature[1:] + b',"id"', 1),
        payload.replace(b'"state"', b'"\\u0073tate":"RUN","state"'),
        payload + b" ",
        payload + payload,
        b" " + payload,
    ):
        assert (await trial.publish(changed)).split(":")[0] in ("malformed", "forged")
    assert await trial.publish(payload) == "HOLD"


async def test_an_emptied_topic_lifts_nothing(trial):
    assert await trial.publish(trial.gate.seal(decision(1))[1]) == "HOLD"
    assert await trial.publish(b"") == "unsigned"
    assert trial.admission.seqs["node/n17"][0] == 1


async def test_a_key_that_is_revoked_is_refused_from_then_on(trial, tmp_path):
    assert await trial.publish(trial.gate.seal(decision(1))[1]) == "HOLD"
    ended = TrustedKey("gate", trial.gate.public_bytes, time.time_ns() - NS)
    (tmp_path / "trusted").write_text(ended.line + "\n")
    assert await trial.publish(trial.gate.seal(decision(2, State.RUN))[1]) == "ended"
