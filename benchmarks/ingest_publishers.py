"""A light fleet: bare MQTT 3.1.1 over asyncio, a few microseconds a message, which is not what is measured.

    python benchmarks/ingest_publishers.py PORT fast NODES SECONDS FORM
    python benchmarks/ingest_publishers.py PORT paced NODES SECONDS FORM

`fast` publishes everything as fast as the broker takes it, over 8 connections. `paced` opens one connection
for each node, which publishes once a second and, one second in 20, asks for a prompt acknowledgement: the
time from the stamp until it has come back is printed. It says "ready" when everything is made and connected,
begins with a line on its standard input, and ends with one JSON object.
"""

import asyncio
import json
import math
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.ingest_messages import Fleet, Form  # noqa: E402
from thermogate.core.clock import NS  # noqa: E402

_CONNECTIONS = 8
_UNACKNOWLEDGED = 400
"""Messages of one fast connection that the broker has not taken yet."""
_ASK_EVERY_S = 20
_WARM_S = 15
"""Nobody asks in the first seconds, while the database makes an index of thousands of new series."""
_TICKS = 100
_PATIENCE_S = 30.0


class Publisher(asyncio.Protocol):
    """One client: publishes at QoS 1 and counts what the broker has taken."""

    def __init__(self, client_id: str, subscribe: str = "") -> None:
        self.taken = 0
        self.asked_ns: list[int] = []
        self.delays_s: list[float] = []
        self.progress = asyncio.Event()
        self.accepted = asyncio.Event()
        self._client_id = client_id
        self._subscribe = subscribe
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        hello = b"\x00\x04MQTT\x04\x02\x00\x3c" + _text(self._client_id)
        self.write(_packet(0x10, hello))
        if self._subscribe:
            self.write(_packet(0x82, b"\x00\x01" + _text(self._subscribe) + b"\x00"))

    def write(self, packets: bytes) -> None:
        """Send what has been made by `published`."""
        assert self._transport is not None
        self._transport.write(packets)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while (found := _end(data, at)) and found <= len(data):
            kind = data[at] & 0xF0
            if kind == 0x40:
                self.taken += 1
            elif kind == 0x20:
                self.accepted.set()
            elif kind == 0x30:
                self._acknowledged()
            at = found
        self._rest = data[at:]
        self.progress.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            raise SystemExit(f"{self._client_id}: the broker hung up: {exc}")

    def _acknowledged(self) -> None:
        now_ns = time.time_ns()
        self.delays_s += [(now_ns - stamp_ns) / NS for stamp_ns in self.asked_ns]
        self.asked_ns.clear()


def published(topic: str, payload: bytes, mid: int) -> bytes:
    """A PUBLISH packet at QoS 1."""
    return _packet(0x32, _text(topic) + struct.pack("!H", mid) + payload)


async def fast(port: int, fleet: Fleet, seconds: int) -> dict[str, float]:
    """Publish everything at once."""
    publishers = [await _connect(port, f"load-{n}") for n in range(_CONNECTIONS)]
    packets: list[list[bytes]] = [[] for _ in publishers]
    for second in range(seconds):
        for node in range(fleet.nodes):
            mine = packets[node % _CONNECTIONS]
            mine.append(published(fleet.topic(node), fleet.payload(node, second), len(mine) % 65535 + 1))
    await _begin()
    cpu_s, began_s = time.process_time(), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for publisher, mine in zip(publishers, packets, strict=True):
            group.create_task(_all(publisher, mine))
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    return {"sent": fleet.nodes * seconds, "took_s": took_s, "cpu_s": cpu_s}


async def _all(publisher: Publisher, packets: list[bytes]) -> None:
    sent = 0
    while publisher.taken < len(packets):
        room = publisher.taken + _UNACKNOWLEDGED - sent
        if room >= min(50, len(packets) - sent) > 0:
            publisher.write(b"".join(packets[sent : sent + room]))
            sent += min(room, len(packets) - sent)
        publisher.progress.clear()
        await publisher.progress.wait()


async def paced(port: int, fleet: Fleet, seconds: int) -> dict[str, float]:
    """Each node once a second, spread evenly over it."""
    publishers = [
        await _connect(port, f"load-{node}", fleet.topic(node, "ack")) for node in range(fleet.nodes)
    ]
    await _begin()
    warm_s = min(_WARM_S, seconds // 4)
    cpu_s, began_s = time.process_time(), time.monotonic()
    for tick in range(seconds * _TICKS):
        wait_s = began_s + tick / _TICKS - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        second, part = divmod(tick, _TICKS)
        for node in range(part, fleet.nodes, _TICKS):
            _beat(publishers[node], fleet, node, second, warm_s)
    took_s = time.monotonic() - began_s
    for _ in range(round(_PATIENCE_S)):
        await asyncio.sleep(1)
        if not any(one.asked_ns for one in publishers):
            break
    delays_s = sorted(delay for one in publishers for delay in one.delays_s) or [math.nan]
    return {
        "sent": fleet.nodes * seconds,
        "took_s": took_s,
        "cpu_s": time.process_time() - cpu_s,
        "asked": len(delays_s),
        "never_answered": sum(len(one.asked_ns) for one in publishers),
        "stored_median_s": delays_s[len(delays_s) // 2],
        "stored_p99_s": delays_s[math.ceil(0.99 * len(delays_s)) - 1],
        "stored_max_s": delays_s[-1],
    }


def _beat(publisher: Publisher, fleet: Fleet, node: int, second: int, warm_s: int) -> None:
    now_ns = time.time_ns()
    ask = second >= warm_s and (second + node) % _ASK_EVERY_S == 0
    if ask:
        publisher.asked_ns.append(now_ns)
    payload = fleet.payload(node, second, now_ns, ack=ask)
    publisher.write(published(fleet.topic(node), payload, second % 65535 + 1))


async def _connect(port: int, client_id: str, subscribe: str = "") -> Publisher:
    loop = asyncio.get_running_loop()
    _, publisher = await loop.create_connection(lambda: Publisher(client_id, subscribe), "127.0.0.1", port)
    async with asyncio.timeout(_PATIENCE_S):
        await publisher.accepted.wait()
    return publisher


async def _begin() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first, *_length(len(body)))) + body


def _length(value: int) -> Iterator[int]:
    while True:
        value, low = divmod(value, 128)
        yield low | (0x80 if value else 0)
        if not value:
            return


def _end(data: bytes, at: int) -> int:
    """Where the packet at `at` ends; 0 when that cannot be told yet."""
    length = shift = 0
    for place in range(at + 1, min(at + 5, len(data))):
        length |= (data[place] & 0x7F) << shift
        shift += 7
        if not data[place] & 0x80:
            return place + 1 + length
    return 0


def main() -> None:
    """Publish, and print what was found."""
    port, kind, nodes, seconds, form = sys.argv[1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    publish = fast if kind == "fast" else paced
    start_ns = time.time_ns() - int(seconds) * NS
    found = asyncio.run(publish(int(port), Fleet(int(nodes), cast("Form", form), start_ns), int(seconds)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
