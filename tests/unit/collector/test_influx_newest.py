"""The newest sample of each device, out of what has passed and what the store has."""

import random
from collections.abc import Sequence

from tests.contract.making import NOW_NS, message, sample
from tests.fakes import FakeClock
from tests.unit.collector.recorder import Recorder
from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.influx_http import InfluxHttp
from thermogate.collector.store.influx_newest import NewestSamples
from thermogate.core.wire import Point, parse_points


class Clock(FakeClock):
    """Reads NOW_NS."""

    def utc_ns(self) -> int:
        return NOW_NS


async def newest(payloads: Sequence[bytes]) -> list[Point]:
    recorder = Recorder()
    recorder.ping = {"X-Influxdb-Version": "1.8.10"}
    async with recorder.server, InfluxHttp(InfluxSettings(url=recorder.url)) as http:
        found = NewestSamples(http, Clock())
        found.see(payloads)
        points = await found.latest()
        await found.close()
    return sorted(points, key=lambda point: (point.measurement, point.node, point.device))


def by_hand(payloads: Sequence[bytes]) -> list[Point]:
    """The newest of each device; fields of one stamp are put together."""
    found: dict[tuple[str, str, str], Point] = {}
    for payload in payloads:
        for point in parse_points(payload):
            key = (point.measurement, point.node, point.device)
            if key not in found or found[key].time_ns < point.time_ns:
                found[key] = point
            elif found[key].time_ns == point.time_ns:
                found[key].fields.update(point.fields)
    return [found[key] for key in sorted(found)]


async def test_devices_that_come_and_go_keep_their_newest_sample() -> None:
    full = [sample(9, device=str(d)) for d in range(8)]
    fewer = [sample(8, device=str(d), temp_c=70) for d in range(8) if d != 3]
    payloads = [
        message(*full),
        message(*fewer),
        message(sample(8, kind="agent", device="", model="", cpu_s=1)),
    ]
    assert await newest(payloads) == by_hand(payloads)


async def test_late_and_doubled_payloads_and_those_of_several_stamps_replace_nothing_newer() -> None:
    chance = random.Random(4)
    payloads = []
    for _ in range(300):
        node = chance.choice(["n1", "n2"])
        ages = (
            [chance.randrange(20)] * 4 if chance.random() < 0.7 else [chance.randrange(20) for _ in range(4)]
        )
        payloads.append(
            message(*(sample(age, node, str(d), temp_c=age + d / 10) for d, age in enumerate(ages)))
        )
        if chance.random() < 0.2:
            payloads.append(payloads[-1])
    assert await newest(payloads) == by_hand(payloads)


async def test_part_of_a_stamp_in_another_payload_adds_to_it() -> None:
    parts = [
        message(sample(5, temp_c=60)),
        message(sample(5, power_w=300)),
        message(sample(6, fan_ratio=0.5)),
    ]
    for payloads in (parts, parts[::-1]):
        [point] = await newest(payloads)
        assert point.fields == {"temp_c": 60, "power_w": 300}
