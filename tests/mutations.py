"""Messages as agents and analytics send them, and ways to spoil them: some stay sound, most do not."""

import random
from collections.abc import Callable

from tests.contract.making import NOW_NS, decision, event, message, sample, status
from thermogate.core.clock import NS
from thermogate.core.model import DeviceInfo
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import encode, gate_topic, node_topic

Said = tuple[str, bytes]
"""Topic, payload."""

_TOKENS = (
    *(b"\n", b"\r\n", b"\r", b"\x0b", b"\x85", b" ", b",", b"=", b"#", b"\x00", b"\xff", b"\xe2\x80\xa8"),
    *(b"nan", b"NaN", b"inf", b"-inf", b"1e999", b"1e308", b"9e307", b"-0", b"1_0", b"0x10", b"1i", b"1u"),
    *(b"9223372036854775807i", b"9223372036854775808i", b"18446744073709551615", b"999999999999999999i"),
    *(b"gpu,node=n2 temp_c=1 1\n", b"\ngpu,node=n2,device=0 temp_c=1 1", b",node=n2", b"node=n2,", b"n2"),
    *(b",device=9", b",origin=replay", b",model=1", b"time=1", b",time_ns=1", b"t", b"true", b"-1", b"null"),
    *(b" ack", b" ack\n", b"# thermogate/1 node=n2 spool=ab seq=1\n", b"+", b"$share/g/x", b"a" * 200),
    *(b"{}", b"[" * 2000, b"{" * 2000, b'{"a":' * 300, b'"node":"n2",', b'"time_ns":-1', b'"', b"\\"),
    *(b'"data":{"a":1e400}', b"..", b"../../etc", b"drop series from /.*/", b"'; drop table gpu; --"),
)
_LEVELS = (
    *("n1", "n2", "+", "#", "..", "", "status", "event", "telemetry", "ack", "gate", "node"),
    *("a" * 129, "\u2028", "thermogate", "v1", "v2"),
)


def sound(rng: random.Random) -> Said:
    """One that an agent of n1, or analytics, could have sent just now."""
    age_s = rng.uniform(0, 3600)
    match rng.randrange(6):
        case 0:
            return node_topic("n1", "event"), encode(event(age_s, spool="3f2a", seq=rng.randrange(1000)))
        case 1:
            devices = (DeviceInfo(kind="gpu", device="0", model="H100", rated_power_w=700.0),)
            return node_topic("n1", "status"), encode(status(age_s=age_s, devices=devices))
        case 2:
            return gate_topic("node", "n1"), encode(decision(rng.randrange(1000), age_s))
    lines = [sample(age_s, device=str(device), **_fields(rng, "gpu")) for device in range(rng.randint(1, 4))]
    if rng.random() < 0.5:
        lines.append(sample(age_s, device="0", kind="cpu", **_fields(rng, "cpu")))
    return node_topic("n1", "telemetry"), message(*lines, seq=rng.randrange(10**6), ack=rng.random() < 0.3)


def mutated(rng: random.Random) -> Said:
    """A sound one after up to five changes; sometimes only noise on a real topic."""
    topic, payload = sound(rng)
    if rng.random() < 0.05:
        return topic, rng.randbytes(rng.choice((0, 1, 7, 300, 70_000)))
    for _ in range(rng.randint(0, 5)):
        payload = rng.choice(_CHANGES)(rng, payload)
    if rng.random() < 0.1:
        levels = topic.split("/")
        levels[rng.randrange(len(levels))] = rng.choice(_LEVELS)
        topic = "/".join(levels[: rng.randint(3, 6)])
    return topic, payload


def _fields(rng: random.Random, kind: str) -> dict[str, float]:
    known = MEASUREMENTS[kind].fields
    chosen = rng.sample(known, rng.randint(1, 8))
    return {field.name: rng.randrange(5) if field.integer else rng.uniform(0, 100) for field in chosen}


def _flip(rng: random.Random, payload: bytes) -> bytes:
    if not payload:
        return payload
    place = rng.randrange(len(payload))
    return payload[:place] + bytes([payload[place] ^ 1 << rng.randrange(8)]) + payload[place + 1 :]


def _cut(rng: random.Random, payload: bytes) -> bytes:
    start, end = _span(rng, payload)
    return payload[:start] + payload[end:]


def _repeat(rng: random.Random, payload: bytes) -> bytes:
    start, end = _span(rng, payload)
    return payload[:end] + payload[start:end] * rng.choice((1, 2, 50)) + payload[end:]


def _insert(rng: random.Random, payload: bytes) -> bytes:
    place = rng.randint(0, len(payload))
    return payload[:place] + rng.choice(_TOKENS) + payload[place:]


def _splice(rng: random.Random, payload: bytes) -> bytes:
    _, other = sound(rng)
    return payload[: rng.randint(0, len(payload))] + other[rng.randint(0, len(other)) :]


def _number(rng: random.Random, payload: bytes) -> bytes:
    """Another number where there is one."""
    digits = [place for place, byte in enumerate(payload) if 48 <= byte <= 57]
    if not digits:
        return payload
    start = end = rng.choice(digits)
    while end < len(payload) and payload[end : end + 1] in b"0123456789.":
        end += 1
    value = rng.choice(
        (b"0", b"1", b"-1", b"1e5", b"2.5", b"%d" % rng.getrandbits(rng.choice((8, 62, 63, 64, 80))))
    )
    return payload[:start] + value + payload[end:]


def _invent(rng: random.Random, payload: bytes) -> bytes:
    """Another device, model or field, as a node does that fills the index."""
    name = b"%x" % rng.getrandbits(24)
    return payload.replace(
        *rng.choice(
            (
                (b"device=0", b"device=" + name),
                (b"model=H100-SXM", b"model=" + name),
                (b"temp_c=", b"x" + name + b"_w="),
                (b'"device":"0"', b'"device":"' + name + b'"'),
                (b"_c=", name + b"_c="),
            )
        )
    )


def _stamp(rng: random.Random, payload: bytes) -> bytes:
    """Another time."""
    shift_ns = rng.choice((1, 60, 86_400, 86_400 * 40, 86_400 * 365 * 200)) * rng.choice((-1, 1)) * NS
    return payload.replace(str(NOW_NS)[:6].encode(), str(NOW_NS + shift_ns)[:6].encode(), rng.choice((1, -1)))


def _other_node(rng: random.Random, payload: bytes) -> bytes:
    return payload.replace(b"n1", rng.choice((b"n2", b"n3", b"..", b"n1 ")), rng.choice((1, 2, -1)))


def _span(rng: random.Random, payload: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(payload))
    return start, min(len(payload), start + rng.choice((1, 2, 10, 100, 1000)))


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    *(_flip, _cut, _repeat, _insert, _splice, _number, _number, _invent, _invent, _stamp, _other_node),
)
