"""What is told to the broker about operators' words, and what comes back."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
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


class Cleared(NamedTuple):
    """What was said about the target before, and what became of taking it back.

    `decided`: a decision stands that came of it, so that the gate has to answer with another.
    """

    before: Override | None
    heard: Heard
    decided: bool


async def say(settings: MqttSettings, word: Override, payload: bytes) -> Heard:
    """Publish a word, retained, and listen a little for what becomes of it.

    Raises UnavailableError when the broker does not take it.
    """
    topic = override_topic(word.kind, word.target)
    deciding = word.from_ns <= word.issued_at_ns

    def is_answer(decision: GateDecision) -> bool:
        return _is_of(decision, word)

    async with _connected(settings, topic, _decisions(word.kind, word.target)) as client:
        await _publish(client, topic, payload)
        return await _listen(client, topic, payload, word.issued_at_ns, is_answer if deciding else None)


async def clear(settings: MqttSettings, key: SigningKey, kind: OverrideKind, target: str, by: str) -> Cleared:
    """Take back what was said about a target.

    By a signed word that is over, which stays on the topic: an empty payload is no operator's, and a gate
    that is away from the broker would go on with what it knows. Raises UnavailableError when the broker
    does not take it.
    """
    topic = override_topic(kind, target)
    now_ns = time.time_ns()
    async with _connected(settings, topic, _decisions(kind, target)) as client:
        retained = await _retained(client)
        found = [word for word in map(_word, retained) if word and word.until_ns > now_ns]
        before = found[0] if found else None
        came_of_it = {_about(said) for said in map(_decision, retained) if said and _is_of(said, before)}
        over = gate_words.over(kind, target, by, before)
        _, payload = key.seal(over)
        await _publish(client, topic, payload)

        def is_answer(decision: GateDecision) -> bool:
            return _about(decision) in came_of_it and not _is_of(decision, before)

        heard = await _listen(client, topic, payload, now_ns, is_answer if came_of_it else None)
        return Cleared(before, heard, bool(came_of_it))


async def standing(settings: MqttSettings) -> list[Override]:
    """Every word that is retained, by kind and target; those that are over, too."""
    async with _connected(settings, override_topic("+", "+")) as client:
        words = [word for message in await _retained(client) if (word := _word(message))]
    return sorted(words, key=lambda word: (word.kind, word.target))


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


async def _retained(client: MqttClient) -> list[Message]:
    found: list[Message] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_RETAINED_S):
            while True:
                found += await client.receive(1000)
    return found


def _word(message: Message) -> Override | None:
    if not message.payload:
        return None
    with suppress(WireError):
        word = decode(message.payload, Override)
        return word if split_topic(message.topic) == ("override", word.kind, word.target) else None
    return None


def _decisions(kind: OverrideKind, target: str) -> str:
    """Where an answer comes: of the fleet and of groups from their nodes."""
    return gate_topic(kind, target) if kind in ("node", "job") else gate_topic("node", "+")


async def _listen(
    client: MqttClient,
    topic: str,
    payload: bytes,
    since_ns: int,
    is_answer: Callable[[GateDecision], bool] | None,
) -> Heard:
    """Until the word came back and, if one is expected, an answer did too; or not in time."""
    heard = Heard(False, [])
    with suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_S):
            while not (heard.echoed and (heard.answers or is_answer is None)):
                for message in await client.receive(100):
                    if message.topic == topic:
                        heard = heard._replace(echoed=heard.echoed or message.payload == payload)
                    elif is_answer is not None and (said := _decision(message, since_ns)) and is_answer(said):
                        heard = heard._replace(answers=[*heard.answers, said])
    return heard


def _decision(message: Message, since_ns: int = 0) -> GateDecision | None:
    """That of a message, if there is one that was made since."""
    with suppress(WireError):
        decision = decode(message.payload, GateDecision)
        return decision if decision.issued_at_ns >= since_ns else None
    return None


def _about(decision: GateDecision) -> tuple[str, str]:
    return decision.kind, decision.target


def _is_of(decision: GateDecision, word: Override | None) -> bool:
    """Whether the decision came of this word."""
    return word is not None and decision.policy == _OPERATOR and word.why in decision.why
