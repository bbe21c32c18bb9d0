"""A gate by hand: signed decisions, retained on a real broker, and the keys that subscribers trust."""

import asyncio
import contextlib
import itertools
import time

from tests.contract.schedulers_contract import decision_of
from thermogate.core.gate_messages import Applied, Report
from thermogate.core.key_files import TrustedKey
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.signing import SigningKey
from thermogate.core.wire import ROOT, decode, encode, gate_topic

FAST = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2}


class Gatekeeper:
    """Says decisions about one target after the other, and hears what is said back."""

    def __init__(self, client: MqttClient, key: SigningKey) -> None:
        self.client = client
        self.key = key
        self._seq = itertools.count(time.time_ns() // 1_000_000)

    async def say(self, target, state, pace=1.0, mode="enforce", for_s=60.0, *, sign=True, **more):
        decision = decision_of(target, state, pace, mode, next(self._seq), time.time_ns(), for_s)
        decision, payload = self.key.seal(decision) if sign else (decision, encode(decision))
        await self.client.publish(gate_topic(*target), payload, retain=True)
        return decision

    async def heard(self, holds=lambda said: True, timeout_s=30.0):
        """The next `Applied` or `Report` for which it holds."""
        async with asyncio.timeout(timeout_s):
            while True:
                for message in await self.client.receive(1):
                    kind = Applied if "/applied/" in message.topic else Report
                    said = decode(message.payload, kind)
                    if holds(said):
                        return said


@contextlib.asynccontextmanager
async def gatekeeper(url: str, folder):
    """Its trusted keys are in folder/trusted."""
    key = SigningKey.generate()
    trust = TrustedKey("gate", key._key.public_key().public_bytes_raw())
    (folder / "trusted").write_text(trust.line + "\n")
    (folder / "trusted").chmod(0o600)
    topics = (f"{ROOT}/applied/#", f"{ROOT}/request/#")
    async with MqttClient(MqttSettings(url=url, **FAST), client_id="gatekeeper", subscribe=topics) as client:
        await client.wait_connected()
        yield Gatekeeper(client, key)
