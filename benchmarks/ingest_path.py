"""Publishers, Mosquitto, collector and a database as real processes, and what each of them costs."""

import contextlib
import json
import os
import pstats
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks import usage  # noqa: E402
from benchmarks.whole_path import Part  # noqa: E402
from tests import servers  # noqa: E402

_LIMIT_S = 150.0
_PARTS = {
    "receive": ("mqtt.py:receive", "mqtt.py:_arrived_on_loop"),
    "check": ("ingest.py:_check",),
    "write": ("writing.py:_until_taken",),
    "ack": ("acks.py:stored", "acks.py:_send", "acks.py:_sent", "mqtt.py:ack", "mqtt.py:_taken_on_loop"),
}
"""Functions whose time, with all that they call, makes up a part. A coroutine counts while it runs."""


class Database(NamedTuple):
    """Starts in a folder, yields its URL; and how a collector is told of it."""

    start: Callable[[Path], AbstractContextManager[str]]
    program: str
    options: Callable[[str], list[str]]


def databases() -> dict[str, Database]:
    """By name."""
    return {
        "influx": Database(servers.influxdb, "influxd", lambda url: ["--influx", url]),
        "victoria": Database(
            servers.victoria,
            "victoria-metrics",
            lambda url: ["--store", "victoria", "--set", f"collector.victoria.url={url}"],
        ),
    }


class IngestPath:
    """All of it while it runs."""

    def __init__(
        self, folder: Path, url: str, database: Database, sets: Sequence[str], *, profile: bool
    ) -> None:
        self.rss_mib = 0.0
        self._folder = folder
        self._port, page = servers.free_port(), servers.free_port()
        self._page = f"http://127.0.0.1:{page}"
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self._port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 0\nset_tcp_nodelay true\n",
            encoding="ascii",
        )
        self._profile = folder / "profile"
        how = [str(ROOT / "benchmarks" / "ingest_profiled.py"), str(self._profile)] if profile else []
        collector = [sys.executable, *(how or ["-m", "thermogate.cli.main"]), "collector"]
        collector += ["--broker", f"mqtt://127.0.0.1:{self._port}", "--listen", f"127.0.0.1:{page}"]
        collector += ["--data-dir", str(folder / "collector"), *database.options(url)]
        collector += [word for setting in sets for word in ("--set", setting)]
        environment = {**os.environ, "HOME": str(folder)}
        self.parts = {
            "broker": Part("broker", [servers.binary("mosquitto"), "-c", str(config)], folder, environment),
            "collector": Part("collector", collector, folder, environment),
        }
        self._database_pid = _child(database.program, folder)
        self._ended = threading.Event()

    def start(self) -> None:
        """Return when the collector is connected."""
        self.parts["broker"].start()
        time.sleep(0.5)
        self.parts["collector"].start()
        deadline_s = time.monotonic() + 30
        while "connected to" not in self.parts["collector"].said():
            self._check(deadline_s)
            time.sleep(0.1)
        time.sleep(0.5)  # its subscriptions
        threading.Thread(target=self._watch, name="memory", daemon=True).start()

    def end(self) -> None:
        """Kill whatever runs."""
        self._ended.set()
        for part in self.parts.values():
            part.kill()

    def stop(self) -> None:
        """End the collector as systemd does."""
        self._ended.set()
        self.parts["collector"].stop()

    def publishers(self, kind: str, nodes: int, seconds: int, form: str) -> subprocess.Popen[str]:
        """Started, connected, and waiting for `begin`."""
        command = [sys.executable, str(ROOT / "benchmarks" / "ingest_publishers.py"), str(self._port)]
        process = subprocess.Popen(
            [*command, kind, str(nodes), str(seconds), form],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the publishers did not start")
        return process

    def begin(self, publishers: subprocess.Popen[str]) -> None:
        """Let them publish."""
        assert publishers.stdin is not None
        publishers.stdin.write("\n")
        publishers.stdin.flush()

    def result(self, publishers: subprocess.Popen[str]) -> dict[str, float]:
        """What they found, when they have ended."""
        said, _ = publishers.communicate(timeout=_LIMIT_S)
        found: dict[str, float] = json.loads(said)
        return found

    def stored(self) -> int:
        """Lines that the store has taken."""
        return int(self._info()["counters"]["samples"])

    def until_stored(self, lines: int) -> None:
        """Return when the store has taken so many lines; SystemExit when it does not or takes more."""
        deadline_s = time.monotonic() + _LIMIT_S
        while (stored := self.stored()) < lines:
            self._check(deadline_s)
            time.sleep(0.05)
        if stored > lines:
            raise SystemExit(f"{stored} lines stored of {lines} sent: some were sent again")

    def cpu_s(self) -> dict[str, float]:
        """Processor time of each process so far; `receiving` are the collector's threads but its first."""
        collector = self.parts["collector"].pid
        return {
            "collector": usage.cpu_s(collector),
            "receiving": usage.cpu_s(collector) - _first_thread_s(collector),
            "broker": usage.cpu_s(self.parts["broker"].pid),
            "database": usage.cpu_s(self._database_pid),
        }

    def parts_us(self, count: int) -> dict[str, float]:
        """Of the collector's first thread under cProfile, microseconds a message; {} without."""
        if not self._profile.exists():
            return {}
        stats: dict[tuple[str, int, str], Any] = pstats.Stats(str(self._profile)).stats  # type: ignore[attr-defined]
        by_name: dict[str, float] = {}
        for (file, _, function), (_, _, _, cumulative_s, _) in stats.items():
            name = f"{Path(file).name}:{function}"
            by_name[name] = by_name.get(name, 0.0) + cumulative_s
        found = {
            f"part_{part}_us": 1e6 * sum(by_name.get(name, 0.0) for name in names) / count
            for part, names in _PARTS.items()
        }
        return found | {"part_all_us": 1e6 * by_name.get("base_events.py:run_forever", 0.0) / count}

    def _info(self) -> Any:
        with urllib.request.urlopen(f"{self._page}/api/v1/info", timeout=10) as answer:
            return json.loads(answer.read())

    def _check(self, deadline_s: float) -> None:
        for part in self.parts.values():
            part.check()
        if time.monotonic() > deadline_s:
            raise SystemExit(f"nothing more is stored:\n{self.parts['collector'].said()[-2000:]}")

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            with contextlib.suppress(OSError):
                self.rss_mib = max(self.rss_mib, usage.memory(self.parts["collector"].pid).rss_mib)


@contextlib.contextmanager
def path(folder: Path, database: Database, *sets: str, profile: bool = False) -> Iterator[IngestPath]:
    """A fresh database, broker and collector with settings, for as long as the block lasts."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection for each node, at both ends
    with database.start(folder) as url:
        made = IngestPath(folder, url, database, sets, profile=profile)
        try:
            made.start()
            yield made
        finally:
            made.end()


def _child(program: str, folder: Path) -> int:
    """The process of this program that was started in the folder."""
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (each / "cmdline").read_bytes().split(b"\0") if each.name.isdigit() else []
            if command and program in command[0].decode() and str(folder).encode() in b" ".join(command):
                return int(each.name)
    raise SystemExit(f"no {program} in {folder}")


def _first_thread_s(pid: int) -> float:
    """Processor time of the thread that a process began with."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
