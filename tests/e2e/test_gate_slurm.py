"""From a GPU that overheats to the drained node and back: a recording, and everything else for real.

Mosquitto, InfluxDB, a Slurm of four emulated nodes, and `thermogate collector`, `analytics` and `slurm` as
processes. Two such clusters stand side by side and hear the same node: in one the thermal policy is enforced,
in the other it is in shadow.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.running import THERMOGATE
from tests.servers import free_port, influxdb, mosquitto
from tests.slurm import slurm, wait_for
from thermogate.agent.app import Agent
from thermogate.agent.config import AgentSettings
from thermogate.agent.spool import Spool
from thermogate.analytics.audit.records import parse
from thermogate.cli import playing
from thermogate.cli.playing import Play
from thermogate.core.clock import NS, SystemClock
from thermogate.core.mqtt import MqttSettings

pytestmark = [pytest.mark.e2e, pytest.mark.integration, pytest.mark.alone]

RECORDINGS = Path(__file__).parents[1] / "recordings"
FURMARK = RECORDINGS / "gpuz_burn" / "furmark.csv"
HEALTHY = RECORDINGS / "rle_sessions" / "monitor_gpu_light.csv"
LIMIT_C = 83.0
"""What the log does not tell; the GPU gets within 3 C of it."""
PATIENCE_S = 240.0
WORDS = [
    "analytics.thermal.heat_release_s=20",  # else a minute, as docs/policies.md says
    "analytics.signals.every_s=2",
]


class Cluster:
    """A broker, a database, a Slurm, and the services between them."""

    def __init__(self, folder, stack, mode):
        self.folder = folder
        folder.mkdir()
        self.slurm = stack.enter_context(slurm(4))
        self.broker = stack.enter_context(mosquitto(folder))
        store = stack.enter_context(influxdb(folder))
        self.url = f"http://127.0.0.1:{free_port()}"
        listen = f"dashboard.listen={self.url.removeprefix('http://')}"
        modes = [f"analytics.modes.thermal={mode}"]
        self._service(stack, "collector", "collector.store=influx", f"collector.influx.url={store}", listen)
        self._service(stack, "analytics", *modes, *WORDS)
        wait_for(lambda: (folder / "keys" / "trusted").exists(), "the gate's keys", self.logs)
        conf = f"schedulers.slurm.conf={self.slurm.folder / 'slurm.conf'}"
        self._service(stack, "slurm", conf, "schedulers.dry_run=false")

    def _service(self, stack, name, *sets):
        command = [THERMOGATE, name, "--broker", self.broker, "--data-dir", str(self.folder)]
        for item in sets:
            command += ["--set", item]
        out = stack.enter_context((self.folder / f"{name}.log").open("ab"))
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ})
        stack.callback(_end, process)

    def ask(self, *arguments):
        """What a command of thermogate's prints."""
        done = subprocess.run([THERMOGATE, *arguments], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    def decisions(self, node):
        """What the store has of a node, oldest first."""
        code, text = self.ask("gates", "--all", "--json", "--target", node, "--url", self.url)
        return list(reversed(json.loads(text))) if code == 0 else []

    def actions(self):
        code, text = self.ask("events", "--json", "--url", self.url)
        return [one for one in json.loads(text) if one["event"] == "gate_applied"] if code == 0 else []

    def drained(self, node):
        return "DRAIN" in self.slurm.node_states(node)

    def records(self):
        files = sorted((self.folder / "audit").glob("*.jsonl"))
        lines = [line for file in files for line in file.read_bytes().splitlines(keepends=True)]
        return [record for record in map(parse, lines) if record.decision]

    def logs(self):
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"-- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)


def _end(process):
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    process.wait(5)


@contextlib.asynccontextmanager
async def playing_nodes(cluster, plays):
    """An agent of each recording."""
    clock, stop = SystemClock(), asyncio.Event()
    with contextlib.ExitStack() as spools:
        async with asyncio.TaskGroup() as agents:
            for play in plays:
                feed = playing.feed(play, cluster.folder, clock)
                spool = spools.enter_context(
                    Spool(cluster.folder / "spool" / feed.node, AgentSettings().spool)
                )
                mqtt = MqttSettings(url=cluster.broker)
                agents.create_task(Agent(feed, spool, AgentSettings(), mqtt, clock).run(stop))
            yield
            stop.set()


async def until(holds, what, cluster):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := await asyncio.to_thread(holds)):
        assert time.monotonic() < deadline, f"{what}: not so after {PATIENCE_S:.0f} s\n{cluster.logs()}"
        await asyncio.sleep(0.1)
    return found


async def test_a_node_that_overheats_is_drained_and_comes_back_and_in_shadow_nothing_is_touched(tmp_path):
    with contextlib.ExitStack() as stack:
        acts = Cluster(tmp_path / "acts", stack, "enforce")
        looks = Cluster(tmp_path / "looks", stack, "shadow")
        hot, well = acts.slurm.nodes[1], acts.slurm.nodes[2]
        plays = [
            Play(file=str(FURMARK), node=hot, rated_power_w=60.0, temp_limit_c=LIMIT_C),
            Play(file=str(HEALTHY), node=well, rated_power_w=200.0, temp_limit_c=LIMIT_C),
        ]
        async with playing_nodes(acts, plays), playing_nodes(looks, plays):
            await until(lambda: acts.drained(hot), "the hot node is drained", acts)
            drained_ns = time.time_ns()
            reason = acts.slurm.node_reason(hot)
            await until(lambda: not acts.drained(hot), "the node that has cooled is back", acts)
            await until(lambda: _lets_go(looks, hot), "the gate in shadow lets go", looks)
            await until(lambda: len(acts.actions()) >= 2, "what Slurm did is stored", acts)
            await until(looks.actions, "what Slurm would have done is stored", looks)
        _the_hold_says_why(acts, hot, reason)
        assert (drained_ns - _sample_ns(acts, hot)) / NS <= 3.0
        assert not any(acts.drained(node) for node in acts.slurm.nodes)
        assert acts.decisions(well) == []
        outcomes = [one["data"]["outcome"] for one in reversed(acts.actions())]
        assert (outcomes[0], outcomes[-1]) == ("done", "undone")
        assert {one["data"]["outcome"] for one in looks.actions()} == {"would"}
        assert [looks.slurm.node_reason(node) for node in looks.slurm.nodes] == [""] * 4
        assert {one["mode"] for one in looks.decisions(hot)} == {"shadow"}
        for cluster in (acts, looks):
            for verb in ("verify", "replay"):
                code, text = cluster.ask("audit", verb, "--data-dir", str(cluster.folder))
                assert code == 0, text


def _lets_go(cluster, node):
    return [one["state"] for one in cluster.decisions(node)][-1:] == ["RUN"]


def _the_hold_says_why(cluster, node, reason):
    """The Reason that an operator sees is the decision's sentence, and it tells what the recording has."""
    hold = next(one for one in cluster.decisions(node) if one["state"] == "HOLD")
    assert reason.startswith("thermogate: gpu0 is at 7")
    assert hold["why"].startswith(reason.removeprefix("thermogate: ")[:100])
    assert f"would reach its limit of {LIMIT_C:g} C in" in hold["why"]
    by_metric = {one["metric"]: one for one in hold["because"]}
    assert by_metric["time_to_limit_s"]["value"] < by_metric["time_to_limit_s"]["threshold"] == 60.0
    assert by_metric["temp_c"]["value"] >= by_metric["temp_c"]["threshold"] == LIMIT_C - 5.0
    assert hold["cjp"]["path"].startswith(
        "RUN when gpu0 has kept at least 5 C and 120 s from its limit for 20 s"
    )


def _sample_ns(cluster, node):
    """The stamp of the sample that the first decision about a node was made of."""
    for record in cluster.records():
        if record.gate_decision.target == node:
            return json.loads(record.unpacked())["step"]["observation"]["now_ns"]
    raise AssertionError("nothing was decided")
