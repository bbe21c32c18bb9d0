"""The whole path as real processes, each of which can be killed: agent, Mosquitto, collector, store.

Simulated are the GPUs only (tests/nvml_stub behind the real nvidia-ml-py).
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]  # a benchmark runs as a script: what it shares is not beside it

from tests import servers  # noqa: E402
from tests.nvml_stub import driver  # noqa: E402
from thermogate.collector.config import EmbeddedSettings, InfluxSettings  # noqa: E402
from thermogate.collector.store.base import Store  # noqa: E402
from thermogate.collector.store.embedded import EmbeddedStore  # noqa: E402
from thermogate.collector.store.influx import InfluxStore  # noqa: E402
from thermogate.core.clock import SystemClock  # noqa: E402

NODE = "n17"
GPUS = 8
QUICK = ("mqtt.reconnect_min_s=0.2", "mqtt.reconnect_max_s=2")
"""One node need not be as patient with its broker as 20,000 have to be."""


class Part:
    """A process that can be killed and started again; what it says goes to NAME.log."""

    def __init__(self, name: str, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._command = command
        self._log = folder / f"{name}.log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    def cpu_s(self) -> float:
        """Processor time, user and kernel, that the process has used."""
        return time.clock_gettime(
            (~self.pid << 3) | 2
        )  # its POSIX clock: CPUCLOCK_SCHED, clock_getcpuclockid(3)

    def start(self) -> None:
        """Start it; returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, as systemd does; its exit status."""
        return self._end(signal.SIGTERM)

    def check(self) -> None:
        """Fail when it has ended by itself."""
        process = self._process
        if process is not None and not self._ending and (status := process.poll()) is not None:
            raise SystemExit(f"{self.name} ended with {status}:\n{self.said()[-3000:]}")

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._ending = True
        self._process.send_signal(number)
        try:
            status = self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait(20)
        self._process = None
        self._ending = False
        return status


class WholePath:
    """Everything but the store, which lasts: agent, broker and collector, each to be killed by name."""

    def __init__(self, folder: Path, influx: str | None, gpus: dict[str, str], *sets: str) -> None:
        self.folder = folder
        self.influx = influx
        port = servers.free_port()
        self.broker_url = f"mqtt://127.0.0.1:{port}"
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_inflight_messages 0\nset_tcp_nodelay true\n",
            encoding="ascii",
        )
        environment = {**os.environ, "HOME": str(folder)}
        collector = ["--listen", f"127.0.0.1:{servers.free_port()}", *_sets(QUICK)]
        collector += ["--influx", influx] if influx else ["--store", "embedded"]
        agent = ["--node", NODE, *_sets((*QUICK, *sets))]
        service = {**environment, **gpus}
        self.parts = {
            "broker": Part("broker", [servers.binary("mosquitto"), "-c", str(config)], folder, environment),
            "collector": Part("collector", self._thermogate("collector", collector), folder, environment),
            "agent": Part("agent", self._thermogate("agent", agent), folder, service),
        }

    @property
    def spool_folder(self) -> Path:
        """Where the agent's spool lies."""
        return self.folder / "agent" / "spool" / NODE

    def start(self, *names: str) -> None:
        """Start parts in this order."""
        for name in names:
            self.parts[name].start()

    def end(self) -> None:
        """Kill whatever runs."""
        for part in self.parts.values():
            part.kill()

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """What the collector wrote; the embedded one only while no collector runs."""
        clock = SystemClock()
        store: Store = (
            InfluxStore(InfluxSettings(url=self.influx), clock)
            if self.influx
            else EmbeddedStore(self.folder / "collector", EmbeddedSettings(), clock, read_only=True)
        )
        async with store:
            yield store

    def _thermogate(self, command: str, arguments: list[str]) -> list[str]:
        program = [sys.executable, "-m", "thermogate.cli.main", command, "--broker", self.broker_url]
        return [*program, "--data-dir", str(self.folder / command), *arguments]


@contextlib.contextmanager
def whole_path(folder: Path, *sets: str, embedded: bool = False) -> Iterator[WholePath]:
    """Stub GPUs and the store run with the block; the parts are for its body to start."""
    with contextlib.ExitStack() as stack:
        influx = None if embedded else stack.enter_context(servers.influxdb(folder))
        gpus = stack.enter_context(_stub_gpus(folder))
        path = WholePath(folder, influx, gpus, *sets)
        stack.callback(path.end)
        yield path


def wait_for(true: Callable[[], bool], what: str, limit_s: float, path: WholePath) -> None:
    """Return once `true()`; SystemExit when a part ends by itself or it takes longer than `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not true():
        for part in path.parts.values():
            part.check()
        if time.monotonic() > deadline_s:
            raise SystemExit(f"not within {limit_s:.0f} s: {what}")
        time.sleep(0.2)


@contextlib.contextmanager
def _stub_gpus(folder: Path) -> Iterator[dict[str, str]]:
    """GPUs that say something else every second; the environment in which a process finds them."""
    driver.build(folder)
    gpus = driver.StubDriver(folder, GPUS)
    ended = threading.Event()

    def live() -> None:
        rng = random.Random(1)
        while not ended.wait(1.0):
            for gpu in range(GPUS):
                gpus.set(gpu, power_instant_mw=rng.randint(540_000, 690_000), temp_c=rng.randint(58, 66))

    thread = threading.Thread(target=live, name="gpus")
    thread.start()
    try:
        yield {"LD_LIBRARY_PATH": str(folder), driver.STATE_VARIABLE: str(gpus.state)}
    finally:
        ended.set()
        thread.join()


def _sets(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]
