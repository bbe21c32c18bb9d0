"""Where faults are injected: a real broker, database and collector, and a simulated fleet that publishes.

Every one of them is a process that can be killed and started again. What is stored is then compared with what
the fleet says that it has generated.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.faults.network import Network
from benchmarks.faults.plan import Plan
from benchmarks.faults.proxy import Proxy
from benchmarks.whole_path import ROOT, Part
from tests import servers
from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.app import make_store
from thermogate.collector.store.base import Store
from thermogate.core import config
from thermogate.core.clock import SystemClock

START_S = 60.0
"""Limit for a server to start, on a machine that has much else to do."""
_DRAIN_S = 120
_POLL_S = 0.1


class Bed:
    """One broker, one database, collectors and a fleet, in a folder of its own.

    A case changes its attributes, then calls `start`; the block `bed(...)` ends all processes.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.store_kind = "influx"
        self.broker_config = "persistence false"
        self.broker_address = "127.0.0.1"
        self.collectors = 1
        self.collector_sets: list[str] = []
        self.proxied = False
        self.fleet_arguments: list[str] = []
        self.fleet_wrap: Callable[[list[str]], list[str]] = list
        self.parts: dict[str, Part] = {}
        self.proxy: Proxy | None = None
        self.network: Network | None = None
        self.database_url = f"http://127.0.0.1:{servers.free_port()}"
        self.broker_port = servers.free_port()
        self._stack = contextlib.ExitStack()
        self._fleet: subprocess.Popen[bytes] | None = None

    @property
    def fleet_folder(self) -> Path:
        """--out of the simulation."""
        return self.folder / "fleet"

    @property
    def broker_url(self) -> str:
        """Of the broker, for everybody."""
        return f"mqtt://{self.broker_address}:{self.broker_port}"

    def start(self) -> None:
        """Start everything, and return when the fleet publishes."""
        self._start_part("broker", [servers.binary("mosquitto"), "-c", str(self._mosquitto_config())])
        self._start_part("database", self._database())
        self.wait_for_database()
        write_url = self.database_url
        if self.proxied:
            self.proxy = self._stack.enter_context(Proxy(self.database_url))
            write_url = self.proxy.url
        for number in range(self.collectors):
            self._start_part(f"collector-{number}", self._collector(number, write_url))
        for number in range(self.collectors):
            self.wait_for_collector(number)
        self._start_fleet()
        self.wait(lambda: self.progress().get("samples", 0) > 0, "the fleet publishes", START_S)

    def end(self) -> None:
        """Kill whatever runs."""
        if self._fleet is not None and self._fleet.poll() is None:
            self._fleet.kill()
            self._fleet.wait(10)
        for part in self.parts.values():
            part.kill()
        self._stack.close()

    def wait(self, true: Callable[[], bool], what: str, limit_s: float) -> None:
        """Return once `true()`. SystemExit when that takes too long or something has ended by itself."""
        deadline_s = time.monotonic() + limit_s
        while not true():
            if self._fleet is not None and self._fleet.poll() is not None:
                raise SystemExit(f"the simulation ended with {self._fleet.returncode}:\n{self._fleet_said()}")
            for part in self.parts.values():
                part.check()
            if time.monotonic() > deadline_s:
                raise SystemExit(f"not within {limit_s:.0f} s: {what}\n{self._last_words()}")
            time.sleep(_POLL_S)

    def wait_for_database(self) -> None:
        """Until it answers."""
        path = "/health" if self.store_kind == "victoria" else "/ping"
        self.wait(lambda: _answers(self.database_url + path), "the database answers", START_S)

    def wait_for_collector(self, number: int = 0) -> None:
        """Until it answers; the fleet's spools take care of the rest."""
        self.wait(lambda: (self._data(number) / "running.json").exists(), f"collector {number} runs", START_S)

    def restart(self, name: str, down_s: float) -> None:
        """kill -9, and start it again after so long."""
        part = self.parts[name]
        part.kill()
        if name.startswith("collector-"):
            (self._data(int(name[-1])) / "running.json").unlink(missing_ok=True)
        time.sleep(down_s)
        part.start()

    def progress(self) -> dict[str, Any]:
        """What the fleet said of itself within the last second."""
        try:
            return dict(json.loads((self.fleet_folder / "progress-0.json").read_bytes()))
        except (OSError, ValueError):
            return {}

    def stored_until_ns(self) -> int:
        """All that was generated before this time is stored, says the fleet."""
        return int(self.progress().get("stored_until_ns", 0))

    def stop_fleet(self) -> dict[str, Any]:
        """End the simulation when all is stored, or after two minutes; what it says that it did."""
        assert self._fleet is not None
        self._fleet.send_signal(signal.SIGTERM)
        self._fleet.wait(_DRAIN_S + 30)
        said = self._fleet_said().strip().splitlines()
        return dict(json.loads(said[-1])) if said else {}

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """What the collectors wrote, read past any proxy."""
        sets = (*self._store_sets(self.database_url), *self.collector_sets)
        loaded = config.load(ThermogateSettings, environ={}, sets=sets)
        async with make_store(loaded.collector, self.folder / "verify", SystemClock()) as store:
            yield store

    def quarantined(self) -> int:
        """Messages that the collectors have set aside."""
        files = [file for number in range(self.collectors) for file in self._data(number).rglob("*.jsonl")]
        return sum(file.read_bytes().count(b"\n") for file in files)

    def _start_part(self, name: str, command: list[str]) -> None:
        environment = {**os.environ, "HOME": str(self.folder)}
        self.parts[name] = Part(name, command, self.folder, environment)
        self.parts[name].start()

    def _start_fleet(self) -> None:
        words = [*_thermogate("simulate"), "--broker", self.broker_url, "--nodes", str(self.plan.nodes)]
        words += ["--out", str(self.fleet_folder), "--drain", f"{_DRAIN_S}s", "--json"]
        words += [*_sets(self.plan.fleet_sets), *self.fleet_arguments]
        with (self.folder / "fleet.out").open("wb") as out, (self.folder / "fleet.log").open("wb") as log:
            self._fleet = subprocess.Popen(
                self.fleet_wrap(words), stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=ROOT
            )

    def _fleet_said(self) -> str:
        return (self.folder / "fleet.out").read_text(encoding="utf-8", errors="replace")

    def _last_words(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def _mosquitto_config(self) -> Path:
        path = self.folder / "mosquitto.conf"
        path.write_text(
            f"listener {self.broker_port} {self.broker_address}\nallow_anonymous true\nuser root\n"
            "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
            f"persistence_location {self.folder}/\n{self.broker_config}\n",
            encoding="ascii",
        )
        return path

    def _database(self) -> list[str]:
        if self.store_kind == "victoria":
            return self._victoria()
        home, port = self.folder / "influxdb", self.database_url.rpartition(":")[2]
        home.mkdir()
        path = self.folder / "influxdb.conf"
        path.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{servers.free_port()}"\n'
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\nmax-body-size = 0\n'
            f'[meta]\ndir = "{home}/meta"\n[data]\ndir = "{home}/data"\nwal-dir = "{home}/wal"\n'
            'index-version = "tsi1"\nmax-series-per-database = 0\nmax-values-per-tag = 0\n'
            "[monitor]\nstore-enabled = false\n",
            encoding="ascii",
        )
        return [servers.binary("influxd"), "-config", str(path)]

    def _victoria(self) -> list[str]:
        return [
            servers.binary("victoria-metrics"),
            f"-storageDataPath={self.folder}/victoria",
            f"-httpListenAddr={self.database_url.removeprefix('http://')}",
            *servers.VICTORIA_FLAGS,
        ]

    def _collector(self, number: int, url: str) -> list[str]:
        words = [*_thermogate("collector"), "--broker", self.broker_url, "--listen", "127.0.0.1:0"]
        words += ["--data-dir", str(self._data(number)), *_sets(self._store_sets(url))]
        words += _sets([f"collector.client_id=thermogate-collector-{number}", *self.plan.collector_sets])
        return [*words, *_sets(self.collector_sets)]

    def _store_sets(self, url: str) -> list[str]:
        return [f"collector.store={self.store_kind}", f"collector.{self.store_kind}.url={url}"]

    def _data(self, number: int) -> Path:
        return self.folder / f"collector-{number}"


@contextlib.contextmanager
def bed(folder: Path, plan: Plan) -> Iterator[Bed]:
    """A bed in a new folder, which goes with the block."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    made = Bed(folder, plan)
    try:
        yield made
    finally:
        made.end()


def _thermogate(command: str) -> list[str]:
    return [sys.executable, "-m", "thermogate.cli.main", command]


def _sets(settings: list[str] | tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
        return True
    return False
