"""What the agent costs a node at 1 Hz, beside its peers: processor time, memory, and values delivered.

8 stub GPUs behind the real nvidia-ml-py, simulated RAPL and hwmon, RLE, the spool, MQTT QoS 1 to a
real Mosquitto. One after the other on the same stub, each alone but for its broker, scraper or
collector, which are not counted. A table for people; the last line is one JSON object for programs.
"""

import argparse
import contextlib
import json
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import peers
import stub_node
import usage
from paho.mqtt.enums import CallbackAPIVersion

from thermogate.core.mqtt import parse_url

Values = Callable[[], int]
"""How many values have been delivered so far."""


def main() -> None:
    """Measure ours and each peer, and print."""
    args = _arguments()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stub_node.Hardware(folder / "hardware") as hardware, stub_node.broker(folder / "broker") as url:
            ours = measure_ours(folder / "agent", url, hardware, args)
            _row("", "CPU ms/s", "PSS MiB", "RSS MiB", "values/s", "wake-ups/s", "threads")
            _show("thermogate agent", ours, "GPU, CPU and node; MQTT QoS 1, spooled")
            found = {}
            for peer in peers.PEERS:
                if args.peers and peer.name not in args.peers:
                    continue
                found[peer.name] = measure_peer(peer, folder / peer.name, url, hardware, args)
                _show(peer.name, found[peer.name], peer.what)
    print(json.dumps({"ours": ours, "peers": found}))


def machine() -> str:
    """What this was measured on, in one line."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    python = f"Python {platform.python_version()}"
    return f"{time.strftime('%Y-%m-%d')}: {len(models)} x {model}, Linux {platform.release()}, {python}"


def measure_ours(
    folder: Path, url: str, hardware: stub_node.Hardware, args: argparse.Namespace
) -> dict[str, Any]:
    """The agent as the service runs it. SystemExit when a second of it does not arrive, or comes twice."""
    with (
        stub_node.Collector(url) as collector,
        stub_node.agent(folder, url, hardware) as process,
    ):
        stub_node.wait_for_messages(collector, 3, process, folder)
        time.sleep(args.warm_up)
        before = collector.ticks
        cost = measure(process.pid, args.seconds, lambda: collector.values)
        if collector.repeated or abs(collector.ticks - before - args.seconds) > 1:
            ticks = collector.ticks - before
            said = collector.malformed or "nothing malformed"
            raise SystemExit(f"{ticks} ticks in {args.seconds:g} s, {collector.repeated} sent twice; {said}")
    return cost


def measure_peer(
    peer: peers.Peer, folder: Path, url: str, hardware: stub_node.Hardware, args: argparse.Namespace
) -> dict[str, Any]:
    """One peer, or {"absent": why}."""
    folder.mkdir()
    host, port, _ = parse_url(url)
    try:
        running = peer.start(folder, host, port)
    except peers.AbsentError as err:
        return {"absent": str(err)}
    with (
        stub_node.peer(running.command, running.libraries, hardware, folder) as process,
        _values(running, url) as values,
    ):
        time.sleep(args.warm_up)
        if process.poll() is not None:
            log = (folder / "log").read_text(errors="replace").splitlines() or [""]
            return {"absent": f"ended with {process.returncode}: {log[-1][:200]}"}
        return measure(process.pid, args.peer_seconds, values)


def measure(pid: int, seconds: float, values: Values | None) -> dict[str, Any]:
    """What a process costs from now on; memory is that at the end."""
    cpu_s, wakeups = usage.tree_cpu_s(pid), usage.wakeups(pid)
    delivered = values() if values else 0
    began_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    memory = usage.memory(pid)
    cost: dict[str, Any] = {
        "cpu_ms_per_s": round((usage.tree_cpu_s(pid) - cpu_s) / took_s * 1000, 2),
        "pss_mib": round(memory.pss_mib, 1),
        "rss_mib": round(memory.rss_mib, 1),
        "samples": round((values() - delivered) / took_s) if values else None,
        "wakeups_per_s": round((usage.wakeups(pid) - wakeups) / took_s),
        "threads": sum(map(usage.threads, usage.tree(pid))),
    }
    return cost


@contextlib.contextmanager
def _values(running: peers.Running, url: str) -> Iterator[Values | None]:
    """Whoever asks a peer or listens to it, in threads of this process."""
    if running.scrape:
        with _scraper(running.scrape) as values:
            yield values
    elif running.mqtt_topic:
        with _listener(url, running.mqtt_topic) as values:
            yield values
    else:
        yield running.count


@contextlib.contextmanager
def _scraper(address: str) -> Iterator[Values]:
    stop, total = threading.Event(), 0

    def run() -> None:
        nonlocal total
        due_s = time.monotonic()
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            total += peers.scrape(address)
            due_s += 1.0

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: total
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _listener(url: str, topic: str) -> Iterator[Values]:
    total = 0

    def take(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        nonlocal total
        total += peers.mqtt_values(message.topic, message.payload)

    host, port, _ = parse_url(url)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-listener")
    client.on_message = take
    client.on_connect = lambda connected, *_: connected.subscribe(topic, 1)
    client.connect(host, port)
    client.loop_start()
    try:
        yield lambda: total
    finally:
        client.disconnect()
        client.loop_stop()


def _show(name: str, cost: dict[str, Any], what: str) -> None:
    if "absent" in cost:
        print(f"{name:18} absent: {cost['absent']}")
        return
    values = "-" if cost["samples"] is None else cost["samples"]
    _row(
        name, cost["cpu_ms_per_s"], cost["pss_mib"], cost["rss_mib"], values,
        cost["wakeups_per_s"], cost["threads"], what,
    )  # fmt: skip


def _row(name: str, *cells: object) -> None:
    print(
        f"{name:18}" + "".join(f"{cell!s:>12}" for cell in cells[:6]) + "".join(f"  {c}" for c in cells[6:])
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the agent is measured")
    parser.add_argument("--peer-seconds", type=float, default=30.0, help="how long each peer is measured")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds before that, each")
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="only these")
    return parser.parse_args()


if __name__ == "__main__":
    main()
