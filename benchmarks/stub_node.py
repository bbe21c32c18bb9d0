"""A node for benchmarks: the real agent as a service runs it, on stubs, with a real Mosquitto.

Simulated are the GPUs (tests/nvml_stub behind the real nvidia-ml-py), RAPL and hwmon (files after
the kernel's layout) and the collector, which here acknowledges as the real one does but stores nothing.
"""

import contextlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from thermogate.core.errors import WireError
from thermogate.core.model import Ack, Event
from thermogate.core.mqtt import parse_url
from thermogate.core.wire import check_telemetry, decode, encode, node_topic

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a benchmark runs as a script: tests/ is not beside it

from tests.nvml_stub import driver  # noqa: E402
from tests.servers import free_port as free_port  # noqa: E402
from tests.servers import mosquitto  # noqa: E402
from tests.unit.agent.sources.sysfs_tree import Tree  # noqa: E402

NODE = "bench"
GPUS, PACKAGES = 8, 2
ACK_EVERY_S = 5.0
"""As `collector.ack_interval_s`."""


class Hardware:
    """GPUs and CPU sensors that say something else every second, for as long as the block lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tree = Tree(folder)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def environment(self) -> dict[str, str]:
        """In which a process finds the GPUs."""
        return {
            "LD_LIBRARY_PATH": str(self._folder),
            driver.STATE_VARIABLE: str(self._folder / "nvml.state"),
            driver.POLL_VARIABLE: "1000",  # a driver does not look at a file in every call
        }

    @property
    def settings(self) -> list[str]:
        """With which the agent finds the CPU sensors. Its /proc is the machine's own."""
        return [f"agent.host.sysfs_root={self._tree.sysfs}"]

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        driver.build(self._folder)
        self._write_gpus(random.Random(0))
        self._make_cpus()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        rng = random.Random(1)
        while not self._stop.wait(1.0):
            self._write_gpus(rng)
            for package in range(PACKAGES):
                self._tree.energy(f"intel-rapl:{package}", time.monotonic_ns() // 1000 * 240)

    def _write_gpus(self, rng: random.Random) -> None:
        lines = [
            f"set -1 count {GPUS}",
            "set -1 driver 570.86.15",
            "set -1 nvml 12.570.86.15",
            "set -1 cuda 12080",
        ]
        lines += [f"set * {key} {value}" for key, value in (driver.H100 | driver.BESIDES).items()]
        for gpu in range(GPUS):
            lines.append(f"set {gpu} uuid GPU-{gpu:08x}-0000-0000-0000-000000000000")
            lines.append(f"set {gpu} bus 00000000:{0x10 + gpu:02X}:00.0")
            lines.append(f"process {gpu} c {os.getpid()} {1 << 30}")
            lines.append(f"set {gpu} power_mw {rng.randint(540_000, 690_000)}")
            lines.append(f"set {gpu} power_instant_mw {rng.randint(540_000, 690_000)}")
            lines.append(f"set {gpu} energy_mj {time.monotonic_ns() // 10**6 * 612}")
            lines.append(f"set {gpu} temp_c {rng.randint(58, 66)}")
            lines.append(f"set {gpu} util_pct {rng.randint(95, 100)}")
        fresh = self._folder / "nvml.new"
        fresh.write_text("\n".join(lines) + "\n", encoding="ascii")
        fresh.replace(self._folder / "nvml.state")

    def _make_cpus(self) -> None:
        """Two packages with RAPL and coretemp, as a server has them, with the cores of this machine."""
        tree, cores = self._tree, os.cpu_count() or 1
        tree.cpus([core * PACKAGES // cores for core in range(cores)])
        for package in range(PACKAGES):
            tree.rapl(f"intel-rapl:{package}", f"package-{package}", 10**9, limit_uw=350_000_000)
            tree.rapl(f"intel-rapl:{package}:0", "dram", 10**8)
            labels = [f"Package id {package}", *(f"Core {core}" for core in range(8))]
            tree.hwmon(package, "coretemp", dict.fromkeys(labels, 52_000), crit=100_000, max=90_000)
        for core in range(cores):
            tree.clock(core, 2_400_000)


class Collector:
    """Takes what the agent publishes, counts it, and acknowledges it."""

    def __init__(self, broker_url: str) -> None:
        self.messages = self.ticks = self.values = self.repeated = 0
        """Messages taken; telemetry messages, values in them; messages that came a second time."""
        self.malformed = ""
        """What is wrong with a message that no collector would take."""
        self.newest_ns = 0
        """UTC of the last tick that came."""
        self._spans: dict[str, list[int]] = {}
        self._newest: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._host, self._port, _ = parse_url(broker_url)
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-collector")
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._client.on_message = self._take
        self._client.on_connect = self._connected
        self._client.connect(self._host, self._port)
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(node_topic(NODE, leaf), 1) for leaf in ("telemetry", "event")])

    def _take(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            if message.topic.endswith("/event"):
                event = decode(message.payload, Event)
                spool, seq, ask = event.spool, event.seq, event.ack
            else:
                header = check_telemetry(NODE, message.payload)
                spool, seq, ask = header.spool, header.seq, header.ack
        except WireError as err:
            self.malformed = str(err)
            return
        lines = message.payload.split(b"\n")[1:-1] if message.topic.endswith("/telemetry") else []
        with self._lock:
            self.messages += 1
            self.ticks += bool(lines)
            self.newest_ns = int(lines[0].rpartition(b" ")[2]) if lines else self.newest_ns
            self.values += sum(line.split(b" ")[1].count(b"=") for line in lines)
            self.repeated += seq <= self._newest.get(spool, 0)
            self._newest[spool] = max(seq, self._newest.get(spool, 0))
            self._spans.setdefault(spool, []).append(seq)
        if ask:
            self._acknowledge()

    def _run(self) -> None:
        while not self._stop.wait(ACK_EVERY_S):
            self._acknowledge()

    def _acknowledge(self) -> None:
        with self._lock:
            spans, self._spans = self._spans, {}
        for spool, numbers in spans.items():
            ack = Ack(spool=spool, stored=tuple(_ranges(sorted(set(numbers)))))
            self._client.publish(node_topic(NODE, "ack"), encode(ack), qos=1)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A Mosquitto; its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    with mosquitto(folder, extra="max_inflight_messages 0\nset_tcp_nodelay true\n") as url:
        yield url


@contextlib.contextmanager
def agent(folder: Path, url: str, hardware: Hardware, *sets: str) -> Iterator[subprocess.Popen[bytes]]:
    """`thermogate agent` in the environment of the service in systemd/; what it says is in `folder`/log."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("thermogate")), "agent", "--broker", url, "--node", NODE]
    command += ["--data-dir", str(folder / "data")]
    for each in (*hardware.settings, *sets):
        command += ["--set", each]
    environment = {**_environment(folder), **service_environment(), **hardware.environment}
    with process(command, environment, folder / "log") as started:
        yield started


@contextlib.contextmanager
def peer(
    command: list[str], libraries: str, hardware: Hardware, folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Another program on the same GPUs; its output goes to `folder`/stdout and `folder`/log."""
    environment = {**_environment(folder), **hardware.environment}
    environment["LD_LIBRARY_PATH"] += f":{libraries}" if libraries else ""
    with (
        (folder / "stdout").open("wb") as out,
        process(command, environment, folder / "log", stdout=out, cwd=folder) as started,
    ):
        yield started


@contextlib.contextmanager
def process(
    command: list[str], environment: dict[str, str], log: Path, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block: asked first, then killed."""
    with log.open("ab") as out:
        started = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=out, **{"stdout": out, **options}
        )
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait(10)


def service_environment() -> dict[str, str]:
    """What systemd/thermogate-agent.service sets in the agent's environment."""
    unit = (ROOT / "systemd" / "thermogate-agent.service").read_text(encoding="utf-8")
    return dict(re.findall(r"^Environment=([A-Z_]+)=(\S+)$", unit, flags=re.MULTILINE))


def wait_for_messages(
    collector: Collector, count: int, process: subprocess.Popen[bytes], folder: Path, limit_s: float = 60.0
) -> None:
    """Return once `count` messages of the agent in `folder` have come; else SystemExit with what it said."""
    deadline_s = time.monotonic() + limit_s
    while collector.messages < count:
        if process.poll() is not None or time.monotonic() > deadline_s or collector.malformed:
            said = collector.malformed or (folder / "log").read_text()
            raise SystemExit(f"{collector.messages} messages of {count} within {limit_s:g} s:\n{said}")
        time.sleep(0.1)


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb"}


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    return ranges
