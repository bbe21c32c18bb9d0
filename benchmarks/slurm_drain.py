"""From a decision on MQTT to a drained node in a real Slurm, and back.

    make bench NAME=slurm-drain
    make bench NAME=slurm-drain ARGS="--nodes 16 --drains 60"

A private Slurm of emulated nodes, Mosquitto and `thermogate slurm --enforce` as a process, decisions
unsigned. One node after the other is held and released: the time until `scontrol show node` says DRAIN,
asked every few ms, and until it no longer does. Then all nodes at once: until the last is drained, or free.
As root. Prints a table and, as the last line, one JSON object.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from tests.contract.schedulers_contract import decision_of  # noqa: E402
from tests.servers import mosquitto  # noqa: E402
from tests.slurm import Cluster, slurm  # noqa: E402
from thermogate.core.decision import State  # noqa: E402
from thermogate.core.mqtt import MqttClient, MqttSettings  # noqa: E402
from thermogate.core.wire import encode, gate_topic  # noqa: E402

_LIMIT_S = 60.0


class Gate:
    """Publishes decisions about nodes."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self._seq = itertools.count(time.time_ns() // 1_000_000)

    def say(self, node: str, state: State) -> None:
        target = ("node", node)
        decision = decision_of(target, state, seq=next(self._seq), now_ns=time.time_ns())
        self._client.send(gate_topic(*target), encode(decision), retain=True)


async def until(cluster: Cluster, nodes: list[str], *, drained: bool) -> float:
    """Seconds from now until all of them are, or are not."""
    began_s = time.monotonic()
    waiting = list(nodes)
    while waiting:
        states = await asyncio.to_thread(cluster.node_states, waiting[0])
        if ("DRAIN" in states) == drained:
            waiting.pop(0)
        elif time.monotonic() - began_s > _LIMIT_S:
            raise SystemExit(f"{waiting[0]}: not {'drained' if drained else 'free'} after {_LIMIT_S:.0f} s")
        else:
            await asyncio.sleep(0.002)
    return time.monotonic() - began_s


async def measure(cluster: Cluster, url: str, drains: int) -> dict[str, list[float]]:
    async with MqttClient(MqttSettings(url=url), client_id="bench-gate") as client:
        await client.wait_connected()
        gate = Gate(client)
        found: dict[str, list[float]] = {"drain": [], "resume": [], "all at once": []}
        gate.say(cluster.nodes[0], State.HOLD)  # until the service runs
        await until(cluster, [cluster.nodes[0]], drained=True)
        gate.say(cluster.nodes[0], State.RUN)
        await until(cluster, [cluster.nodes[0]], drained=False)
        for node in itertools.islice(itertools.cycle(cluster.nodes), drains):
            gate.say(node, State.HOLD)
            found["drain"].append(await until(cluster, [node], drained=True))
            gate.say(node, State.RUN)
            found["resume"].append(await until(cluster, [node], drained=False))
        for state in (State.HOLD, State.RUN):
            for node in cluster.nodes:
                gate.say(node, state)
            took_s = await until(cluster, list(cluster.nodes), drained=state is State.HOLD)
            found["all at once"].append(took_s)
        return found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * (len(values) - 1)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--drains", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, slurm(args.nodes) as cluster, mosquitto(Path(name)) as url:
        command = [sys.executable, "-m", "thermogate.cli.main", "slurm", "--enforce", "--broker", url]
        command += ["--data-dir", name, "--set", "schedulers.watch.verify=false"]
        with (Path(name) / "service.log").open("wb") as out:
            service = subprocess.Popen(command, env=cluster.env, stdout=out, stderr=out)
        try:
            found = asyncio.run(measure(cluster, url, args.drains))
        finally:
            service.kill()
            service.wait()
    print(f"{'ms':<14}{'p50':>10}{'p99':>10}{'most':>10}")
    for what, seconds in found.items():
        row = (statistics.median(seconds), percentile(seconds, 0.99), max(seconds))
        print(f"{what:<14}" + "".join(f"{value * 1000:>10.1f}" for value in row))
    result: dict[str, float] = {"nodes": args.nodes, "drains": args.drains}
    result |= {
        "p50_ms": statistics.median(found["drain"]) * 1000,
        "p99_ms": percentile(found["drain"], 0.99) * 1000,
    }
    result |= {"resume_p50_ms": statistics.median(found["resume"]) * 1000}
    result |= {"all_at_once_ms": found["all at once"][0] * 1000}
    print(json.dumps({key: round(value, 1) for key, value in result.items()}))


if __name__ == "__main__":
    main()
