"""Real servers on free ports with folders of their own, for as long as a block lasts."""

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

_START_S = 20.0


def binary(name: str) -> str:
    """Path of a program; without it the test is skipped, or fails in CI."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        reason = f"{name} is not installed: run tests/install_servers.sh as root"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


_PORTS = itertools.count(random.randrange(1000))


def free_port() -> int:
    """A port of the loopback interface on which nobody listens.

    Below those that the kernel gives to connections, and of this worker's own: a port that was free is
    still free when the server takes it.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10
    while True:
        port = 20_000 + 1000 * worker + next(_PORTS) % 1000
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def mosquitto(folder: Path, *, port: int | None = None, extra: str = "") -> Iterator[str]:
    """A Mosquitto; yields its mqtt:// URL. `extra` is more of its configuration."""
    program = binary("mosquitto")
    port = port or free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{extra}")
    with _running([program, "-c", str(config)], folder / "mosquitto.log"):
        _wait_for_port(port)
        yield f"mqtt://127.0.0.1:{port}"


@contextlib.contextmanager
def influxdb(folder: Path, *, port: int | None = None) -> Iterator[str]:
    """An InfluxDB 1.x without password; yields its http:// URL."""
    program = binary("influxd")
    port = port or free_port()
    home = folder / "influxdb"
    config = folder / "influxdb.conf"
    home.mkdir(exist_ok=True)
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\nmax-body-size = 0\n'
        f'[meta]\ndir = "{home}/meta"\n'
        f'[data]\ndir = "{home}/data"\nwal-dir = "{home}/wal"\nindex-version = "tsi1"\n'
        "max-series-per-database = 0\nmax-values-per-tag = 0\n"
        "[monitor]\nstore-enabled = false\n"
    )
    with _running([program, "-config", str(config)], folder / "influxd.log"):
        _wait_for_ping(f"http://127.0.0.1:{port}/ping")
        yield f"http://127.0.0.1:{port}"


VICTORIA_FLAGS = (
    "-retentionPeriod=30d",
    "-dedup.minScrapeInterval=1ms",
    "-search.latencyOffset=2s",
    "-search.maxUniqueTimeseries=10000000",
    "-search.maxSeries=1000000",
)
"""Those of systemd/victoriametrics/thermogate.conf that say what the server does with samples."""


@contextlib.contextmanager
def victoria(folder: Path, *, port: int | None = None, extra: tuple[str, ...] = ()) -> Iterator[str]:
    """A VictoriaMetrics as we ship its configuration; yields its http:// URL. `extra` flags come last."""
    program = binary("victoria-metrics")
    port = port or free_port()
    command = [program, f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'victoria'}"]
    command += [*VICTORIA_FLAGS, "-memory.allowedBytes=128MB", "-loggerLevel=WARN", *extra]
    with _running(command, folder / "victoria.log"):
        _wait_for_ping(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def prometheus(folder: Path, config: str, *, port: int | None = None) -> Iterator[str]:
    """A Prometheus with that configuration; yields its http:// URL."""
    program = binary("prometheus")
    port = port or free_port()
    file = folder / "prometheus.yml"
    file.write_text(config)
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with _running(command, folder / "prometheus.log"):
        _wait_for_ping(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on port {port} after {_START_S:.0f} s")


def _wait_for_ping(url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"{url} does not answer after {_START_S:.0f} s")
