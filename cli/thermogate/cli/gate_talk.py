"""What is told to the broker about operators' words, and what comes back."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from thermogate.cli import gate_words
from thermogate.core.decision import GateDecision
from thermogate.core.errors import UnavailableError, WireError
from thermogate.core.gate_messages import Override, OverrideKind
from thermogate.core.mqtt import Message, MqttClient, MqttSettings
from thermogate.core.signing import SigningKey
from thermogate.core.wire import decode, gate_topic, override_topic, split_topic

_ANSWER_S = 5.0
"""The gate looks about once a second."""
_RETAINED_S = 1.0
"""After the subscription a broker sends what it has retained at once."""
_OPERATOR = "operator"


class Heard(NamedTuple):
    """Whether the word came back from the broker, and the decisions that the gate made of it."""

    echoed: bool
    answers: list[GateDecision]


async def say(settings: MqttSettings, word: Override, payload: bytes) -> Heard:
    """Publish a word, retained, and listen a little for what becomes of it.

    Raises UnavailableError when the broker does not take it.
    """
    topic = override_topic(word.kind, word.target)
    deciding = word.from_ns <= word.issued_at_ns
    async with _connected(settings, topic, _decisions(word)) as client:
        await _publish(client, topic, payload)
        heard = Heard(False, [])
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                while not (heard.echoed and (heard.answers or not deciding)):
                    for message in await client.receive(100):
                        heard = _hear(heard, message, topic, payload, word)
        return heard


async def clear(
    settings: MqttSettings, key: SigningKey, kind: OverrideKind, target: str, by: str
) -> Override | None:
    """Take back what was said about a target, and return it; None when nothing was.

    First by a signed word that is over, for whoever does not take an empty payload for an operator's; then
    the topic is emptied. Raises UnavailableError when the broker does not take it.
    """
    topic = override_topic(kind, target)
    async with _connected(settings, topic) as client:
        before = await _retained(client)
        _, payload = key.seal(gate_words.over(kind, target, by))
        await _publish(client, topic, payload)
        await _publish(client, topic, b"")
        return before[0] if before else None


async def standing(settings: MqttSettings) -> list[Override]:
    """Every word that is retained, by kind and target; those that are over, too."""
    async with _connected(settings, override_topic("+", "+")) as client:
        return sorted(await _retained(client), key=lambda word: (word.kind, word.target))


@asynccontextmanager
async def _connected(settings: MqttSettings, *topics: str) -> AsyncIterator[MqttClient]:
    client_id = f"thermogate-gate-{os.getpid()}"
    async with MqttClient(settings, client_id=client_id, subscribe=topics) as client:
        try:
            async with asyncio.timeout(settings.connect_timeout_s + 1):
                await client.wait_connected()
        except TimeoutError as err:
            why = client.last_problem or f"{settings.url} does not answer"
            raise UnavailableError(f"nothing was said: {why}") from err
        yield client


async def _publish(client: MqttClient, topic: str, payload: bytes) -> None:
    try:
        async with asyncio.timeout(client.settings.connect_timeout_s):
            await client.publish(topic, payload, retain=True)
    except TimeoutError as err:
        raise UnavailableError(
            f"{client.settings.url} has not taken it; it is not known whether it will"
        ) from err


async def _retained(client: MqttClient) -> list[Override]:
    found = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_RETAINED_S):
            while True:
                found += [word for message in await client.receive(1000) if (word := _word(message))]
    return found


def _word(message: Message) -> Override | None:
    if not message.payload:
        return None
    with suppress(WireError):
        word = decode(message.payload, Override)
        return word if split_topic(message.topic) == ("override", word.kind, word.target) else None
    return None


def _decisions(word: Override) -> str:
    """Where an answer comes: of the fleet and of groups from their nodes."""
    return gate_topic(word.kind, word.target) if word.kind in ("node", "job") else gate_topic("node", "+")


def _hear(heard: Heard, message: Message, topic: str, payload: bytes, word: Override) -> Heard:
    if message.topic == topic:
        return heard._replace(echoed=heard.echoed or message.payload == payload)
    with suppress(WireError):
        decision = decode(message.payload, GateDecision)
        if (
            decision.policy == _OPERATOR
            and decision.issued_at_ns >= word.issued_at_ns
            and word.why in decision.why
        ):
            return heard._replace(answers=[*heard.answers, decision])
    return heard
