"""Agents and exporters that people run for the same purpose, each as its own documentation starts it at 1 Hz.

Each in a folder of its own under .bench/, which git ignores: some pin versions that break others. One
that cannot be installed is reported with the reason.
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from stub_node import free_port

FOLDER = Path(__file__).parents[1] / ".bench"
_INSTALL_LIMIT_S = 600.0
_FETCH_LIMIT_S = 5.0


class AbsentError(Exception):
    """A peer cannot be had here; the text says why."""


class Running(NamedTuple):
    """How to start a peer, and how to count what it delivers.

    One of: `scrape`, an address to ask every second, as Prometheus would; `mqtt_topic`, where it
    publishes; `count`, how many values it has written so far. None of them: it delivers nothing a second.
    """

    command: list[str]
    scrape: str = ""
    count: Callable[[], int] | None = None
    mqtt_topic: str = ""
    libraries: str = ""
    """A folder of libraries that it needs beside the system's."""


class Peer(NamedTuple):
    """One peer: what it measures here, in words, and how it is installed and started."""

    name: str
    what: str
    start: Callable[[Path, str, int], Running]
    """(its folder for this run, host of the broker, port of the broker)"""


def _venv(name: str, *packages: str) -> Path:
    """The bin/ of a virtual environment with `packages`, made if missing. Raises AbsentError."""
    home = FOLDER / name
    if not (home / "installed").exists():
        home.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(home)])
        _run([str(home / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", *packages])
        (home / "installed").write_text("\n".join(packages) + "\n", encoding="utf-8")
    return home / "bin"


def _deb(name: str, *packages: str) -> Path:
    """The root of what Debian's `packages` contain, unpacked, not installed. Raises AbsentError."""
    home = FOLDER / name
    if not (home / "installed").exists():
        home.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", *packages], cwd=home)
        for file in sorted(home.glob("*.deb")):
            _run(["dpkg", "-x", str(file), str(home)])
        (home / "installed").write_text("\n".join(packages) + "\n", encoding="utf-8")
    return home


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise AbsentError(f"{command[0]}: {err}") from err
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("W")] or ["no reason given"]
        raise AbsentError(f"{' '.join(command[:4])}: {lines[-1]}")


def _node_exporter(_folder: Path, _host: str, _port: int) -> Running:
    root = _deb("node-exporter", "prometheus-node-exporter")
    address = f"127.0.0.1:{free_port()}"
    command = [str(root / "usr/bin/prometheus-node-exporter"), f"--web.listen-address={address}"]
    return Running(command, scrape=f"http://{address}/metrics")


def _nvitop_exporter(_folder: Path, _host: str, _port: int) -> Running:
    port = free_port()
    program = _venv("nvitop-exporter", "nvitop-exporter") / "nvitop-exporter"
    command = [str(program), "--bind-address", "127.0.0.1", "--port", str(port), "--interval", "1"]
    return Running(command, scrape=f"http://127.0.0.1:{port}/metrics")


def _glances(folder: Path, host: str, port: int) -> Running:
    program = _venv("glances", "glances", "paho-mqtt", "nvidia-ml-py", "certifi") / "glances"
    config = folder / "glances.conf"
    config.write_text(
        f"[global]\ncheck_update=false\n[mqtt]\nhost={host}\nport={port}\ntls=false\ntopic=glances\n"
        "user=bench\npassword=none\ntopic_structure=per-metric\n",
        encoding="utf-8",
    )
    command = [str(program), "--quiet", "--time", "1", "--export", "mqtt", "--config", str(config)]
    return Running(command, mqtt_topic="glances/#")


def _gpustat(folder: Path, _host: str, _port: int) -> Running:
    program = _venv("gpustat", "gpustat") / "gpustat"
    out = folder / "stdout"
    return Running([str(program), "--interval", "1", "--no-color"], count=lambda: _gpustat_values(out))


def _gpustat_values(out: Path) -> int:
    """Temperature, utilization, memory used and memory in all: four numbers a line of a GPU."""
    return 4 * out.read_text(encoding="utf-8", errors="replace").count("MB") if out.exists() else 0


def _codecarbon(_folder: Path, _host: str, _port: int) -> Running:
    program = _venv("codecarbon", "codecarbon") / "codecarbon"
    command = [str(program), "monitor", "--measure-power-secs", "1", "--no-api", "--offline"]
    return Running([*command, "--country-iso-code", "DEU"])


def _collectd(folder: Path, host: str, port: int) -> Running:
    root = _deb("collectd", "collectd-core", "libmosquitto1")
    plugins = ("cpu", "memory", "load", "interface", "df", "disk", "mqtt")
    config = folder / "collectd.conf"
    config.write_text(
        f'Interval 1\nBaseDir "{folder}"\nPIDFile "{folder}/pid"\nPluginDir "{root}/usr/lib/collectd"\n'
        f'TypesDB "{root}/usr/share/collectd/types.db"\n'
        + "".join(f"LoadPlugin {name}\n" for name in plugins)
        + f'<Plugin mqtt>\n<Publish "bench">\nHost "{host}"\nPort {port}\nQoS 1\nPrefix "collectd"\n'
        "</Publish>\n</Plugin>\n",
        encoding="utf-8",
    )
    libraries = next(str(path.parent) for path in root.glob("usr/lib/*/libmosquitto.so.1"))
    command = [str(root / "usr/sbin/collectd"), "-f", "-C", str(config)]
    return Running(command, mqtt_topic="collectd/#", libraries=libraries)


PEERS: Sequence[Peer] = (
    Peer("node_exporter", "node, no GPU; scraped", _node_exporter),
    Peer("collectd", "node, no GPU; MQTT QoS 1", _collectd),
    Peer("nvitop-exporter", "GPU and node; scraped", _nvitop_exporter),
    Peer("gpustat", "GPU; printed", _gpustat),
    Peer("glances", "GPU and node; MQTT, a message a value", _glances),
    Peer("codecarbon", "GPU and CPU energy; a file at the end", _codecarbon),
)


def scrape(address: str) -> int:
    """Ask once, as Prometheus does; how many samples came. 0 when it does not answer."""
    try:
        with urllib.request.urlopen(address, timeout=_FETCH_LIMIT_S) as answer:
            text = answer.read().decode("utf-8")
    except (OSError, urllib.error.URLError):
        return 0
    return sum(1 for line in text.splitlines() if line and not line.startswith("#"))


def mqtt_values(topic: str, payload: bytes) -> int:
    """How many numbers a message of a peer carries."""
    if topic.startswith("collectd/"):
        return payload.count(b":")  # TIME:VALUE[:VALUE...]
    try:
        value = json.loads(payload)
    except ValueError:
        return 0
    return 1 if isinstance(value, int | float) and not isinstance(value, bool) else 0
