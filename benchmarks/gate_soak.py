"""A soak of the gate: a fleet with random faults, and what must hold all the time.

    make bench NAME=gate-soak
    make bench NAME=gate-soak ARGS="--nodes 500 --minutes 20 --seed 7"

Real are Mosquitto, `thermogate analytics` (a process that is killed and started again), signatures, the
audit log and what obeys decisions (`schedulers.obey`). Simulated are the nodes (gate_fleet.py) and the
scheduler (gate_cluster.py). Every policy is enforced but the power budget, as these nodes obey no pace.
Faults: nodes that overheat, alone and a third of the fleet at once, lost GPUs, hung drivers, XIDs, silent
nodes, kill -9 of the gate and of the broker, a scheduler service that restarts, commands that fail, operators
that hold and drain, and an attacker who publishes decisions of his own.

Watched all the time: how many nodes policies hold (never over the breaker's share), changes of state a target
and hour, and at the end that nothing stays that the gate has set. The audit log is verified and replayed.
Exits with 1 when anything of that does not hold. The last line is one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.gate_cluster import Cluster  # noqa: E402
from benchmarks.gate_fleet import Fleet, client, gate, hot, keys_made  # noqa: E402
from thermogate.analytics.config import BreakerSettings, GateSettings  # noqa: E402
from thermogate.core.admission import Admission  # noqa: E402
from thermogate.core.clock import SystemClock  # noqa: E402
from thermogate.core.decision import Cjp, GateDecision, State  # noqa: E402
from thermogate.core.errors import NotConnectedError, SignatureError, WireError  # noqa: E402
from thermogate.core.gate_messages import Override  # noqa: E402
from thermogate.core.key_files import TrustedKey  # noqa: E402
from thermogate.core.keyring import add  # noqa: E402
from thermogate.core.mqtt import MqttClient, MqttSettings  # noqa: E402
from thermogate.core.signing import SigningKey, TrustedKeys  # noqa: E402
from thermogate.core.wire import encode, gate_topic, override_topic  # noqa: E402
from thermogate.schedulers.journal import Journal  # noqa: E402
from thermogate.schedulers.obey import Obey  # noqa: E402
from thermogate.schedulers.watch import GateWatch  # noqa: E402
from thermogate.schedulers.watch_settings import ObeySettings, WatchSettings  # noqa: E402

_ENFORCED = ("thermal", "hardware", "cooling", "consistency", "health", "idle", "ladder")
_QUIET_S = 300.0
"""After the last fault: dwell, release and expiry of what stood."""
_GAP_S = (2.0, 8.0)
SHARE, EASED = BreakerSettings().fleet_share, GateSettings().eased_most_count
HEARD_SHARE = 0.9
"""Of the decisions on record, those that reached a subscriber in time: the broker is away at times."""
MOST_CHANGES_AN_HOUR = 4 * EASED
"""Every way down is one of at most `gate.eased_most_count` an hour; up it goes in three steps at most."""


class Broker:
    """A Mosquitto that can be killed and comes back on its port, with nothing retained."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 100000\n"
        )
        self._log = (folder / "mosquitto.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            raise SystemExit("mosquitto is not installed: tests/install_servers.sh")
        self._process = subprocess.Popen(
            [program, "-c", str(self._config)], stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


class Watch:
    """What a subscriber who verifies sees: what is held, how often targets change, and what was refused."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.last: dict[str, GateDecision] = {}
        self.held_most = self.decisions = self.refused = 0
        self.changes: dict[str, list[float]] = defaultdict(list)
        self.policies: Counter[str] = Counter()

    async def listen(self, listener: MqttClient) -> None:
        while True:
            for message in await listener.receive(100):
                try:
                    self._see(self._admission.admit(message.topic, message.payload, time.time_ns()))
                except (SignatureError, WireError):
                    self.refused += 1

    def held(self) -> int:
        """Nodes that policies hold now, and the engine for them while they are silent."""
        now_ns = time.time_ns()
        return sum(_holds(one) and one.valid_at(now_ns) for one in self.last.values())

    def changes_an_hour(self) -> int:
        """The most changes of one target's state within any hour."""
        return max((_most_within(times, 3600.0) for times in self.changes.values()), default=0)

    def _see(self, decision: GateDecision) -> None:
        before = self.last.get(decision.target)
        if before is not None and before.id == decision.id:
            return
        self.decisions += 1
        valid = before is not None and before.valid_at(time.time_ns())
        was = before.state if before is not None and valid else State.RUN
        if decision.state is not was and decision.policy != "operator":
            self.changes[decision.target].append(time.monotonic())
            self.policies[f"{decision.policy} {decision.state}"] += 1
        self.last[decision.target] = decision
        self.held_most = max(self.held_most, self.held())


def _holds(decision: GateDecision) -> bool:
    return (
        decision.mode == "enforce"
        and decision.policy != "operator"
        and decision.state in (State.HOLD, State.REPAIR)
    )


def _most_within(times: list[float], window_s: float) -> int:
    return max(sum(0 <= other - one < window_s for other in times) for one in times)


class Gate:
    """The gate's process, which can be killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._url, self._folder = url, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        sets = [f"analytics.modes.{name}=enforce" for name in _ENFORCED]
        self._process = self._stack.enter_context(gate(self._url, self._folder, *sets))

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._stack.close()


class Soak:
    """The faults, one after the other at random times, each of which ends by itself."""

    def __init__(
        self, parts: tuple[Fleet, Gate, Broker, Cluster], operator: SigningKey, rng: random.Random
    ) -> None:
        self._fleet, self._gate, self._broker, self._cluster = parts
        self._operator = operator
        self._rng = rng
        self.counts: Counter[str] = Counter()
        self.restart_scheduler = asyncio.Event()
        self.by_hand: dict[str, str] = {}

    async def run(self, speaker: MqttClient, for_s: float) -> None:
        """Begin faults for so long, and return when the last one has ended."""
        faults: list[tuple[int, Callable[[MqttClient], Awaitable[None]]]] = [
            (10, self._overheat),
            (1, self._heat_wave),
            (4, self._lose_gpu),
            (3, self._hang_driver),
            (4, self._harmless_xid),
            (6, self._fall_silent),
            (2, self._kill_gate),
            (1, self._kill_broker),
            (1, self._restart_scheduler),
            (3, self._operator_holds),
            (2, self._operator_drains),
            (4, self._attack),
        ]
        weights = [weight for weight, _ in faults]
        end_s = time.monotonic() + for_s
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end_s:
                _, fault = self._rng.choices(faults, weights)[0]
                self.counts[fault.__name__.strip("_")] += 1
                group.create_task(_unless_unconnected(fault, speaker))
                await asyncio.sleep(self._rng.uniform(*_GAP_S))

    def _some(self, count: int) -> list[str]:
        return self._rng.sample(self._fleet.names, count)

    async def _overheat(self, _: MqttClient, count: int = 3) -> None:
        names = self._some(count)
        for name in names:
            self._fleet.ailments[name] = hot
        await asyncio.sleep(self._rng.uniform(20, 180))
        for name in names:
            self._fleet.ailments.pop(name, None)

    async def _heat_wave(self, speaker: MqttClient) -> None:
        await self._overheat(speaker, len(self._fleet.names) // 3)

    async def _lose_gpu(self, _: MqttClient) -> None:
        (name,) = self._some(1)
        self._fleet.silent.add(name)  # its GPUs send nothing
        self._fleet.event(name, "gpu_lost")
        await asyncio.sleep(self._rng.uniform(5, 90))
        self._fleet.silent.discard(name)
        self._fleet.event(name, "gpu_back")

    async def _hang_driver(self, _: MqttClient) -> None:
        (name,) = self._some(1)
        self._fleet.event(name, "driver_hung")
        await asyncio.sleep(self._rng.uniform(5, 90))
        self._fleet.event(name, "driver_back")

    async def _harmless_xid(self, _: MqttClient) -> None:
        self._fleet.event(self._some(1)[0], "xid", xid=31.0)

    async def _fall_silent(self, _: MqttClient) -> None:
        names = self._some(5)
        self._fleet.silent.update(names)
        await asyncio.sleep(self._rng.uniform(10, 200))
        self._fleet.silent.difference_update(names)

    async def _kill_gate(self, _: MqttClient) -> None:
        self._gate.kill()
        await asyncio.sleep(self._rng.uniform(0, 20))
        self._gate.start()

    async def _kill_broker(self, _: MqttClient) -> None:
        self._broker.kill()
        await asyncio.sleep(self._rng.uniform(0, 10))
        self._broker.start()

    async def _restart_scheduler(self, _: MqttClient) -> None:
        self.restart_scheduler.set()

    async def _operator_holds(self, speaker: MqttClient) -> None:
        (name,) = self._some(1)
        now_ns, for_s = time.time_ns(), self._rng.uniform(20, 90)
        word = Override(
            id=f"w{now_ns}",
            kind="node",
            target=name,
            state=self._rng.choice([State.HOLD, State.REPAIR, State.RUN, State.SYNC]),
            issued_at_ns=now_ns,
            from_ns=now_ns,
            until_ns=now_ns + int(for_s * 1e9),
            why="soak",
            by="operator",
        )
        speaker.send(override_topic("node", name), self._operator.seal(word)[1], retain=True)
        await asyncio.sleep(for_s)

    async def _operator_drains(self, _: MqttClient) -> None:
        (name,) = self._some(1)
        if name not in self._cluster.drained:
            self.by_hand[name] = self._cluster.drained[name] = "new fan, ada"

    async def _attack(self, speaker: MqttClient) -> None:
        """Somebody with access to the broker publishes a decision of his own over the gate's."""
        (name,) = self._some(1)
        foreign = SigningKey.generate()
        forged = GateDecision(
            id="x",
            seq=2**52,
            kind="node",
            target=name,
            state=State.REPAIR,
            pace=0.0,
            mode="enforce",
            issued_at_ns=time.time_ns(),
            expires_at_ns=time.time_ns() + 10**12,
            policy="thermal",
            policy_version=1,
            why="forged",
            because=(),
            cjp=Cjp("", "", ""),
            inputs="",
        )
        payload = self._rng.choice([encode(forged), foreign.seal(forged)[1], b"{}", b"\xff"])
        speaker.send(gate_topic("node", name), payload, retain=True)


async def _unless_unconnected(fault: Callable[[MqttClient], Awaitable[None]], speaker: MqttClient) -> None:
    with contextlib.suppress(NotConnectedError):  # the broker is away: another fault, at another time
        await fault(speaker)


async def _obey(soak: Soak, cluster: Cluster, url: str, folder: Path, stop: asyncio.Event) -> None:
    """The scheduler's service, started again whenever the soak says so."""
    clock = SystemClock()
    while not stop.is_set():
        soak.restart_scheduler.clear()
        journal = Journal(folder / "journal.json", cluster.name)
        journal.open()
        settings = WatchSettings(
            trust_file=str(folder / "gate" / "keys" / "trusted"), state_file=str(folder / "watch.json")
        )
        watch = GateWatch(MqttSettings(url=url), settings, clock, client_id="soak", kinds=("node",))
        async with watch:
            obey = Obey(cluster, watch, journal, ObeySettings(), clock, dry_run=False)
            ends = asyncio.Event()
            running = asyncio.create_task(obey.run(ends))
            waits = [asyncio.create_task(one.wait()) for one in (soak.restart_scheduler, stop)]
            await asyncio.wait([*waits, running], return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            ends.set()
            await running


async def _run(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    rng = random.Random(args.seed)
    broker = Broker(folder)
    broker.start()
    cluster = Cluster(rng, fails_share=0.05)
    process = Gate(broker.url, folder)
    process.start()
    trusted = folder / "gate" / "keys" / "trusted"
    await keys_made(trusted)
    operator = SigningKey.generate()
    add(trusted, TrustedKey("operator", operator.public_bytes, purpose="override"))
    try:
        async with (
            client(broker.url, "fleet") as speaker,
            client(broker.url, "watcher", gate_topic("node", "+")) as listener,
        ):
            fleet = Fleet(speaker, args.nodes)
            await fleet.say_status()
            watch = Watch(Admission(TrustedKeys.load(trusted)))
            soak = Soak((fleet, process, broker, cluster), operator, rng)
            stop = asyncio.Event()
            endless = [asyncio.create_task(one) for one in (fleet.run(), watch.listen(listener))]
            obeying = asyncio.create_task(_obey(soak, cluster, broker.url, folder, stop))
            await asyncio.sleep(10)
            await soak.run(speaker, args.minutes * 60)
            drained_most = len(cluster.ours)
            cluster.fails_share = 0.0
            print(
                f"faults have ended; {drained_most} nodes are drained; {_QUIET_S:.0f} s of quiet", flush=True
            )
            await asyncio.sleep(_QUIET_S)
            stop.set()
            await obeying
            for task in endless:
                task.cancel()
            await asyncio.gather(*endless, return_exceptions=True)
            return _result(args, fleet, watch, soak, cluster) | {
                "left_in_journal": len(json.loads((folder / "journal.json").read_text())["marks"])
                if (folder / "journal.json").exists()
                else 0
            }
    finally:
        process.stop()
        broker.kill()


def _result(
    args: argparse.Namespace, fleet: Fleet, watch: Watch, soak: Soak, cluster: Cluster
) -> dict[str, object]:
    untouched = all(cluster.drained.get(name) == reason for name, reason in soak.by_hand.items())
    return {
        "nodes": args.nodes,
        "minutes": args.minutes,
        "seed": args.seed,
        "samples": fleet.sent_count,
        "faults": dict(soak.counts),
        "decisions": watch.decisions,
        "changes": dict(watch.policies),
        "refused": watch.refused,
        "held_most": watch.held_most,
        "held_allowed": max(1, int(args.nodes * SHARE)),
        "changes_an_hour_most": watch.changes_an_hour(),
        "changes_an_hour_allowed": MOST_CHANGES_AN_HOUR,
        "commands": cluster.commands,
        "commands_failed": cluster.failed,
        "left_drained": sorted(cluster.ours),
        "drained_by_hand": len(soak.by_hand),
        "drained_by_hand_untouched": untouched,
    }


def _recorded(folder: Path) -> int:
    files = (folder / "gate" / "audit").glob("*.jsonl")
    return sum(b'"decision":' in line for file in files for line in file.read_bytes().splitlines())


def _audited(folder: Path, verb: str) -> bool:
    command = [sys.executable, "-m", "thermogate.cli.main", "audit", verb, "--data-dir", str(folder / "gate")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"thermogate audit {verb}: {(done.stdout or done.stderr).strip().splitlines()[-1]}")
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=20.0, help="of faults; five more of quiet follow")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep logs, journal and audit log in this folder")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(_run(args, folder))
        result |= {"audit_verified": _audited(folder, "verify"), "audit_replayed": _audited(folder, "replay")}
        result["recorded"] = _recorded(folder)
    for name, value in result.items():
        print(f"{name:<28}{value}")
    holds = {
        "the breaker": result["held_most"] <= result["held_allowed"],
        "no flapping": result["changes_an_hour_most"] <= MOST_CHANGES_AN_HOUR,
        "nothing forgotten": not result["left_drained"] and not result["left_in_journal"],
        "an operator's drains": result["drained_by_hand_untouched"],
        "what is decided is heard": result["decisions"] >= HEARD_SHARE * result["recorded"],
        "the audit log": result["audit_verified"] and result["audit_replayed"],
    }
    for name, ok in holds.items():
        print(f"{name:<28}{'holds' if ok else 'DOES NOT HOLD'}")
    print(json.dumps(result | {"ok": all(holds.values())}))
    sys.exit(not all(holds.values()))


if __name__ == "__main__":
    main()
