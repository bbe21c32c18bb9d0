"""An hour's outage is over: how fast does the backlog drain, and how late are live samples meanwhile?

    make bench NAME=agent-backlog                        InfluxDB, then the embedded store

The spool of a node with 8 GPUs is filled with an hour of messages (simulated: node_messages.py). Then
the real agent (on stub GPUs), Mosquitto, the collector and the store are started. A live sample's delay
is from its stamp until a listener at the broker hears that the store has it: everything is in it.
Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.node_messages import messages  # noqa: E402
from benchmarks.whole_path import NODE, WholePath, whole_path  # noqa: E402
from thermogate.agent.spool import Spool, SpoolSettings  # noqa: E402
from thermogate.core.clock import NS  # noqa: E402
from thermogate.core.model import Ack  # noqa: E402
from thermogate.core.mqtt import Message, MqttClient, MqttSettings  # noqa: E402
from thermogate.core.wire import decode, node_topic, parse_header  # noqa: E402

LIMIT_S = 300.0


class Listener:
    """What passes at the broker: live samples as they are published, and what the store has."""

    def __init__(self, backlog: int) -> None:
        self.began_s = self.ended_s = 0.0
        self.sent = 0
        self.published_s: list[float] = []
        self.stored_s: list[float] = []
        self._backlog = backlog
        self._waiting = set(range(1, backlog + 1))
        self._live_ns: dict[int, int] = {}

    def take(self, message: Message) -> None:
        """Look at one message."""
        now_ns = time.time_ns()
        if message.topic.endswith("/ack"):
            self._acknowledged(decode(message.payload, Ack), now_ns)
            return
        self.sent += 1
        seq = parse_header(message.payload).seq
        stamp_ns = int(message.payload[:-1].rsplit(b" ", 1)[1])
        if seq <= self._backlog:
            self.began_s = self.began_s or now_ns / NS
        elif seq not in self._live_ns and stamp_ns / NS > self.began_s > 0:  # not from before the connection
            self._live_ns[seq] = stamp_ns
            self.published_s.append((now_ns - stamp_ns) / NS)

    def _acknowledged(self, ack: Ack, now_ns: int) -> None:
        for first, last in ack.stored:
            for seq in range(first, last + 1):
                self._waiting.discard(seq)
                stamp_ns = self._live_ns.get(seq)
                if stamp_ns:
                    self._live_ns[seq] = 0
                    self.stored_s.append((now_ns - stamp_ns) / NS)
        if not self._waiting and not self.ended_s:
            self.ended_s = now_ns / NS


def fill(path: WholePath, seconds: int) -> None:
    """A spool as an outage leaves it: the messages of the seconds up to now."""
    with Spool(path.spool_folder, SpoolSettings()) as spool:
        for payload in messages(NODE, time.time_ns() - (seconds + 5) * NS, seconds):
            spool.append("telemetry", payload)


async def drain(path: WholePath, seconds: int) -> dict[str, float]:
    """Start everything on the full spool and watch until the store has it."""
    listener = Listener(seconds)
    path.start("broker", "collector")
    await asyncio.sleep(4)  # a collector that is up before its nodes come back
    topics = (node_topic(NODE, "telemetry"), node_topic(NODE, "ack"))
    settings = MqttSettings(url=path.broker_url)
    async with (
        asyncio.timeout(LIMIT_S),
        MqttClient(settings, client_id="listener", subscribe=topics) as client,
    ):
        await client.wait_connected()
        path.start("agent")
        cpu_s: list[float] = []
        while not listener.ended_s:
            for part in path.parts.values():
                part.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    for message in await client.receive(1000):
                        listener.take(message)
            if listener.began_s and not cpu_s:
                cpu_s.append(path.parts["agent"].cpu_s())
        cpu_s.append(path.parts["agent"].cpu_s())
    took_s = listener.ended_s - listener.began_s
    return {
        "backlog_s": seconds,
        "took_s": took_s,
        "times_real_time": seconds / took_s,
        "messages_sent": listener.sent,
        "agent_cpu_ms_per_s": 1000 * (cpu_s[1] - cpu_s[0]) / took_s,
        **_delays("live_published", listener.published_s),
        **_delays("live_stored", listener.stored_s),
    }


def _delays(name: str, delays_s: list[float]) -> dict[str, float]:
    ordered = sorted(delays_s) or [math.nan]
    return {
        f"{name}_count": len(delays_s),
        f"{name}_median_s": ordered[len(ordered) // 2],
        f"{name}_p99_s": ordered[math.ceil(0.99 * len(ordered)) - 1],
        f"{name}_max_s": ordered[-1],
    }


def main() -> None:
    """Run on both stores, or one, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3600, help="length of the outage")
    parser.add_argument("--store", choices=("influx", "embedded"), help="only this one")
    args = parser.parse_args()
    found = {}
    for store in [args.store] if args.store else ["influx", "embedded"]:
        with (
            tempfile.TemporaryDirectory() as folder,
            whole_path(Path(folder), embedded=store == "embedded") as path,
        ):
            fill(path, args.seconds)
            found[store] = asyncio.run(drain(path, args.seconds))
        print(f"{args.seconds} s of backlog into the {store} store")
        for name, value in found[store].items():
            print(f"  {name:24} {value:10.3f}")
    print(
        json.dumps(
            {store: {name: round(value, 3) for name, value in each.items()} for store, each in found.items()}
        )
    )


if __name__ == "__main__":
    main()
