"""A fleet of simulated nodes for the benchmarks of the gate: 8 GPUs and 2 CPUs each, 1 Hz, a real broker.

What a node sends follows a recorded training (node_messages.py); what ails it is put on top. Simulated.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from benchmarks.node_messages import messages
from thermogate.core.clock import NS
from thermogate.core.errors import NotConnectedError
from thermogate.core.model import DeviceInfo, Event, EventKind, Status
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import encode, format_header, node_topic

_TEMPLATES = 60
_STAMP = re.compile(rb" [0-9]{19}\n")
Ailment = Callable[[bytes], bytes]
"""What becomes of the lines of a second when the node ails."""


def hot(lines: bytes) -> bytes:
    """GPU 0 at 86 C of its 87 C and under load."""
    return _change(lines, temp_c=b"86.0", util_ratio=b"0.98")


def collapsing(lines: bytes) -> bytes:
    """GPU 0 hot and in collapse."""
    return _change(lines, temp_c=b"80.0", util_ratio=b"0.98", collapse=b"1i")


def warm(lines: bytes) -> bytes:
    """GPU 0 hot and not in collapse."""
    return _change(lines, temp_c=b"80.0", util_ratio=b"0.98", collapse=b"0i")


def _change(lines: bytes, **fields: bytes) -> bytes:
    first, rest = lines.split(b"\n", 1)
    for name, value in fields.items():
        first = re.sub(rb"([ ,]" + name.encode() + rb"=)[^, ]+", rb"\g<1>" + value, first, count=1)
    return first + b"\n" + rest


class Fleet:
    """Publishes for every node once a second, spread over the second; `ailments` are by node.

    A node in `silent` says nothing. What was due while there was no connection is left out.
    """

    def __init__(self, client: MqttClient, count: int) -> None:
        self.names = [f"n{number:04d}" for number in range(count)]
        self.ailments: dict[str, Ailment] = {}
        self.silent: set[str] = set()
        self.sent_count = 0
        self.late_s = 0.0
        self.marked_ns: dict[str, int] = {}
        self._marks: set[str] = set()
        self._client = client
        lines = list(messages("@node", 10**18, _TEMPLATES))
        self._templates = [_STAMP.sub(b" @stamp\n", one) for one in lines]
        self._seq = 0

    def mark(self, node: str) -> None:
        """Note in `marked_ns` the stamp of the node's next sample."""
        self._marks.add(node)

    async def say_status(self) -> None:
        """Every node online, with its devices."""
        devices = tuple(
            DeviceInfo(kind="gpu", device=str(n), model="NVIDIA-H100-80GB-HBM3", rated_power_w=700.0)
            for n in range(8)
        )
        for name in self.names:
            status = Status(node=name, online=True, time_ns=time.time_ns(), devices=devices)
            await self._client.publish(node_topic(name, "status"), encode(status), retain=True)

    async def run(self) -> None:
        """Until cancelled."""
        begin_s = time.monotonic()
        for number in range(10**9):
            at_s = begin_s + number / len(self.names)
            wait_s = at_s - time.monotonic()
            self.late_s = max(self.late_s, -wait_s)
            if wait_s > 0.002:
                await asyncio.sleep(wait_s)
            name = self.names[number % len(self.names)]
            if name not in self.silent:
                self._sample(name, number)
            elif number % 100 == 0:
                await asyncio.sleep(0)

    def event(self, node: str, kind: EventKind, **data: float | str) -> int:
        """Publish an event of GPU 0 that happens now; its stamp."""
        now_ns = time.time_ns()
        said = Event(node=node, event=kind, time_ns=now_ns, text="", device_kind="gpu", device="0", data=data)
        with contextlib.suppress(NotConnectedError):
            self._client.send(node_topic(node, "event"), encode(said))
        return now_ns

    def _sample(self, name: str, number: int) -> None:
        lines = self._templates[(number // len(self.names) + number) % _TEMPLATES]
        ailment = self.ailments.get(name)
        lines = ailment(lines) if ailment is not None else lines
        now_ns = time.time_ns()
        if name in self._marks:
            self._marks.remove(name)
            self.marked_ns[name] = now_ns
        stamp = b" %d\n" % now_ns
        body = lines.replace(b"@node", name.encode()).replace(b" @stamp\n", stamp)
        self._seq += 1
        payload = format_header(name, "3f2a", self._seq) + body
        with contextlib.suppress(NotConnectedError):
            self._client.send(node_topic(name, "telemetry"), payload)
            self.sent_count += 1


@contextlib.contextmanager
def gate(url: str, folder: Path, *sets: str) -> Iterator[subprocess.Popen[bytes]]:
    """`thermogate analytics` as a process of its own, ended at the end; its log is in the folder."""
    command = [sys.executable, "-m", "thermogate.cli.main", "analytics", "--broker", url]
    command += ["--data-dir", str(folder / "gate")]
    for item in sets:
        command += ["--set", item]
    with (folder / "gate.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.asynccontextmanager
async def client(url: str, name: str, *topics: str) -> AsyncIterator[MqttClient]:
    """A connection that stands."""
    async with MqttClient(MqttSettings(url=url), client_id=name, subscribe=topics) as found:
        await found.wait_connected()
        yield found


async def keys_made(trusted: Path) -> None:
    """Wait for the gate's first start to make its keys."""
    while not trusted.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.1)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of them lies; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def seconds(ns: int) -> float:
    """Nanoseconds as seconds."""
    return ns / NS
