"""`thermogate power-cap` as a process, with a real broker and the stub driver: followed, restored, killed."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.contract.schedulers_contract import decision_of
from tests.nvml_stub.driver import BESIDES, H100, STATE_VARIABLE, StubDriver
from tests.nvml_stub.loaded import library
from tests.servers import mosquitto
from thermogate.core.gate_messages import Applied
from thermogate.core.mqtt import MqttClient, MqttSettings
from thermogate.core.wire import applied_topic, decode, encode, gate_topic

pytestmark = pytest.mark.integration

WAIT_S = 60.0
N17 = ("node", "n17")
SET = "nvmlDeviceSetPowerManagementLimit"


class Node:
    """One node's GPUs and the service on it; decisions by hand."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url
        self.driver = StubDriver(folder, 2, H100 | BESIDES)
        self.environ = {
            **os.environ,
            STATE_VARIABLE: str(self.driver.state),
            "LD_LIBRARY_PATH": str(library().parent),
        }
        self.log = folder / "log"
        self._seq = 0

    def command(self, *arguments):
        return [sys.executable, "-W", "error", "-m", "thermogate.cli.main", "power-cap", *arguments]

    def options(self):
        sets = {
            "schedulers.dry_run": "false",
            "schedulers.watch.verify": "false",
            "schedulers.power_caps.obey.resync_s": "0.5",
            "schedulers.power_caps.call_timeout_s": "2",
        }
        return ["--data-dir", str(self.folder / "data"), *(f"--set={k}={v}" for k, v in sets.items())]

    @contextlib.contextmanager
    def service(self, *more):
        command = [*self.command(*self.options(), "--broker", self.url, "--node", "n17"), *more]
        with self.log.open("ab") as out:
            process = subprocess.Popen(command, env=self.environ, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.kill()
            process.wait(20)

    def restore(self):
        command = self.command("restore", "--data-dir", str(self.folder / "data"))
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=WAIT_S)

    async def say(self, state, pace=1.0, for_s=3600.0, mode="enforce"):
        self._seq += 1
        said = decision_of(N17, state, pace, mode, self._seq, time.time_ns(), for_s)
        async with MqttClient(MqttSettings(url=self.url), client_id="gate") as client:
            await client.wait_connected()
            await client.publish(gate_topic(*N17), encode(said), retain=True)

    def limits_w(self):
        return [self.driver.power_limit_w(gpu) for gpu in range(2)]

    def until(self, true, what):
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if true():
                return
            time.sleep(0.05)
        pytest.fail(f"never: {what}\n{self.log.read_text()}")

    def until_limits(self, *watts):
        self.until(lambda: self.limits_w() == list(watts), f"limits {watts}; they are {self.limits_w()}")

    def until_journal(self, marks):
        """The service knows how it ended: what is on disk says so."""
        file = self.folder / "data/power-cap.json"
        self.until(lambda: file.exists() and file.read_text().count('"done":true') == marks, f"{marks} marks")


@pytest.fixture
def node(tmp_path):
    with mosquitto(tmp_path) as url:
        yield Node(tmp_path, url)


async def test_a_pace_is_followed_and_given_back_on_release_on_expiry_and_at_the_end(node):
    await node.say("HOLD", 0.7)
    with node.service() as process:
        node.until_limits(490, 490)
        await node.say("RUN", 0.5)
        node.until_limits(350, 350)
        await node.say("RUN")
        node.until_limits(700, 700)
        await node.say("HOLD", 0.6, for_s=10)
        node.until_limits(420, 420)
        node.until_limits(700, 700)
        await node.say("HOLD", 0.7)
        node.until_limits(490, 490)
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert node.limits_w() == [700, 700]


async def test_killed_it_is_restored_by_the_command_that_systemd_runs_after_it(node):
    await node.say("HOLD", 0.7)
    with node.service() as process:
        node.until_journal(2)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    assert node.limits_w() == [490, 490]
    done = node.restore()
    assert (done.returncode, done.stdout) == (0, "restore gpu0, gpu1 to 700 W\n")
    assert node.limits_w() == [700, 700]
    assert node.restore().stdout == "no power limit of ours is in force\n"


async def test_killed_and_started_again_it_goes_on_and_knows_the_limit_before(node):
    node.driver.set_power_limit(1, 650)
    await node.say("HOLD", 0.7)
    with node.service() as process:
        node.until_journal(2)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    await node.say("HOLD", 0.5)
    with node.service() as process:
        node.until_limits(350, 350)
        await node.say("RUN")
        node.until_limits(700, 650)


async def test_killed_and_started_again_without_a_broker_it_restores(node, tmp_path):
    await node.say("HOLD", 0.7, for_s=20)
    with node.service() as process:
        node.until_journal(2)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    node.url = "mqtt://127.0.0.1:1"
    with node.service("--set=schedulers.power_caps.obey.settle_s=1"):
        node.until_limits(700, 700)


async def test_a_limit_that_somebody_has_set_meanwhile_outlives_the_service(node):
    await node.say("HOLD", 0.7)
    with node.service() as process:
        node.until_journal(2)
        node.driver.set_power_limit(1, 600)
        node.until(lambda: "gpu1: somebody has changed the limit to 600 W" in node.log.read_text(), "told")
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert node.limits_w() == [700, 600]
    assert node.log.read_text().count("somebody has changed") == 1


async def test_a_gpu_that_hangs_does_not_hold_up_the_end_and_is_restored_afterwards(node):
    await node.say("HOLD", 0.7)
    with node.service() as process:
        node.until_journal(2)
        node.driver.hang("nvmlDeviceGetPowerManagementLimit", 1)
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert node.limits_w() == [700, 490]
    node.driver.release()
    assert node.restore().stdout == "restore gpu1 to 700 W\n"
    assert node.limits_w() == [700, 700]


async def test_in_shadow_and_in_a_dry_run_nothing_is_set_and_it_says_what_would_be(node):
    async with MqttClient(
        MqttSettings(url=node.url), client_id="reader", subscribe=(applied_topic(*N17),)
    ) as reader:
        await node.say("HOLD", 0.7, mode="shadow")
        with node.service():
            (message,) = await reader.receive(1)
        await node.say("HOLD", 0.7)
        with node.service("--set=schedulers.dry_run=true"):
            (dry,) = await reader.receive(1)
    for told, mode in (
        (decode(message.payload, Applied), "shadow"),
        (decode(dry.payload, Applied), "enforce"),
    ):
        assert (told.scheduler, told.outcome, told.mode) == ("power-cap", "would", mode)
        assert told.text == "cap gpu0, gpu1 at 490 W (pace 0.7)"
        assert told.actions == ("nvidia-smi -i 0,1 -pl 490",)
    assert node.driver.calls(SET, 0) == 0


async def test_a_second_service_and_a_restore_beside_a_running_one_are_refused(node):
    await node.say("HOLD", 0.7)
    with node.service():
        node.until_journal(2)
        with node.service() as second:
            assert second.wait(WAIT_S) == 1
        assert node.restore().returncode == 1
        assert node.limits_w() == [490, 490]
