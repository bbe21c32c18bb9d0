"""Power limits through the real pynvml on a stub driver: what comes, goes, hangs and has none."""

import asyncio
import subprocess
import sys
import threading

import pytest

from tests.nvml_stub.driver import DRIVER, STATE_VARIABLE
from tests.nvml_stub.loaded import library, loaded
from thermogate.core.decision import State
from thermogate.schedulers.adapter import ActionError, Mark
from thermogate.schedulers.power_caps.adapter import PowerCaps
from thermogate.schedulers.power_caps.gpus import Gpus
from thermogate.schedulers.power_caps.lane import HungError, Lane
from thermogate.schedulers.standing import FREE, Standing

SET = "nvmlDeviceSetPowerManagementLimit"
GET = "nvmlDeviceGetPowerManagementLimit"
NOT_SUPPORTED, NO_PERMISSION, UNKNOWN = 3, 4, 999
N17 = ("node", "n17")


class Node:
    """PowerCaps on the stub, with marks as the journal keeps them."""

    def __init__(self, driver, folder, timeout_s=10.0):
        self.driver = driver
        self.bus = folder / "bus/pci/drivers/nvidia"
        self.bus.mkdir(parents=True)
        self.gpus = Gpus(timeout_s, folder)
        self.caps = PowerCaps(self.gpus, "n17", boot="b1")
        self.marks = {}

    async def follow(self, pace):
        """Plan and perform, as Obey does; the plan."""
        wanted = FREE if pace == 1 else Standing(State.HOLD, pace)
        plan = await self.caps.plan(N17, wanted, self.marks)
        for name in plan.forgets:
            del self.marks[name]
        for step in plan.steps:
            self.marks |= {name: Mark(detail, done=False) for name, detail in step.sets.items()}
            await self.caps.perform(step)
            self.marks |= {name: Mark(detail) for name, detail in step.sets.items()}
            for name in step.clears:
                del self.marks[name]
        return plan

    def plug(self, gpu):
        (self.bus / f"0000:{gpu:02x}:00.0").mkdir()

    def limits_w(self):
        return [self.driver.power_limit_w(gpu) for gpu in range(4)]


@pytest.fixture
def node(tmp_path):
    with loaded(tmp_path) as driver:
        made = Node(driver, tmp_path)
        yield made
        made.gpus.close()


async def test_all_gpus_follow_the_pace_and_say_so_as_a_person_would(node):
    plan = await node.follow(0.7)
    assert node.limits_w() == [490.0] * 4
    assert plan.text == "cap gpu0, gpu1, gpu2, gpu3 at 490 W (pace 0.7)"
    assert [step.text for step in plan.steps] == ["nvidia-smi -i 0,1,2,3 -pl 490"]
    assert (await node.follow(0.5)).text == "cap gpu0, gpu1, gpu2, gpu3 at 350 W (pace 0.5)"
    assert (await node.follow(0.5)).steps == ()
    plan = await node.follow(1)
    assert plan.text == "restore gpu0, gpu1, gpu2, gpu3 to 700 W"
    assert (node.limits_w(), node.marks) == ([700.0] * 4, {})


async def test_a_limit_that_somebody_has_set_meanwhile_stays_and_is_told(node):
    await node.follow(0.7)
    node.driver.set_power_limit(2, 600)
    plan = await node.follow(0.5)
    assert node.limits_w() == [350.0, 350.0, 600.0, 350.0]
    assert "gpu2: somebody has changed the limit to 600 W, which stays" in plan.text
    await node.follow(1)
    assert (node.limits_w(), node.marks) == ([700.0, 700.0, 600.0, 700.0], {})


async def test_a_gpu_without_a_limit_is_left_alone_and_told(node):
    node.driver.error(GET, NOT_SUPPORTED, 1)
    plan = await node.follow(0.7)
    assert plan.text.endswith("; gpu1 has no power limit that can be set")
    node.driver.error(GET, 0, 1)
    assert node.limits_w() == [490.0, 700.0, 490.0, 490.0]


async def test_without_permission_it_says_what_it_takes(node):
    node.driver.error(SET, NO_PERMISSION)
    with pytest.raises(ActionError, match=r"gpu0.*it takes root with CAP_SYS_ADMIN"):
        await node.follow(0.7)
    assert node.limits_w() == [700.0] * 4


async def test_one_gpu_that_refuses_holds_up_no_other(node):
    node.driver.error(SET, UNKNOWN, 0)
    for _ in range(2):
        with pytest.raises(ActionError, match="gpu0: nvmlDeviceSetPowerManagementLimit"):
            await node.follow(0.7)
        assert node.limits_w() == [700.0, 490.0, 490.0, 490.0]
    assert sum(mark.done for mark in node.marks.values()) == 3
    with pytest.raises(ActionError, match="gpu0"):
        await node.follow(0.5)
    assert node.limits_w() == [700.0, 350.0, 350.0, 350.0]
    node.driver.error(SET, 0, 0)
    await node.follow(0.5)
    assert node.limits_w() == [350.0] * 4


async def test_a_gpu_that_hangs_costs_itself_and_is_restored_once_it_answers(tmp_path):
    with loaded(tmp_path) as driver:
        node = Node(driver, tmp_path, timeout_s=1.0)
        await node.follow(0.7)
        driver.hang(GET, 3)
        assert "gpu3" in (await node.follow(0.5)).text
        assert node.limits_w() == [350.0, 350.0, 350.0, 490.0]
        await node.follow(1)
        assert node.limits_w() == [700.0, 700.0, 700.0, 490.0]
        assert len(node.marks) == 1
        driver.release()
        while node.marks:
            await node.follow(1)
            await asyncio.sleep(0.01)
        assert node.limits_w() == [700.0] * 4
        node.gpus.close()


async def test_a_hung_gpu_takes_no_more_threads_however_often_it_is_looked_at(tmp_path):
    with loaded(tmp_path) as driver:
        node = Node(driver, tmp_path, timeout_s=0.5)
        await node.follow(0.7)
        driver.hang(GET, 3)
        await node.follow(0.7)
        count = threading.active_count()
        for _ in range(5):
            await node.follow(0.7)
        assert threading.active_count() == count
        driver.release()
        node.gpus.close()


async def test_a_lost_gpu_keeps_its_claim_and_after_its_reset_its_cap(node):
    await node.follow(0.7)
    node.driver.set(1, lost=1)
    assert "gpu1 is lost" in (await node.follow(0.7)).text
    node.driver.set(1, lost=0)
    node.driver.set_power_limit(1, 700)
    await node.follow(0.7)
    assert node.limits_w() == [490.0] * 4


async def test_a_gpu_that_is_plugged_in_later_is_capped_too(tmp_path):
    with loaded(tmp_path) as driver:
        driver.set(3, present=0)
        node = Node(driver, tmp_path)
        for gpu in range(3):
            node.plug(gpu)
        await node.follow(0.7)
        assert node.limits_w() == [490.0, 490.0, 490.0, 700.0]
        driver.set(3, present=1)
        node.plug(3)
        await node.follow(0.7)
        assert node.limits_w() == [490.0] * 4
        node.gpus.close()


async def test_a_gpu_that_is_unplugged_is_told_until_the_next_boot(tmp_path):
    with loaded(tmp_path) as driver:
        node = Node(driver, tmp_path)
        node.plug(0)
        await node.follow(0.7)
        driver.set(3, present=0)
        node.plug(1)
        plan = await node.follow(1)
        assert "GPU-00000003, whose limit is ours, is not there" in plan.text
        assert list(node.marks) == ["GPU-00000003"]
        node.caps = PowerCaps(node.gpus, "n17", boot="b2")
        await node.follow(1)
        assert node.marks == {}
        node.gpus.close()


async def test_a_gpu_with_mig_instances_has_one_limit(node):
    node.driver.mig(0, 0)
    node.driver.mig(0, 1)
    await node.follow(0.7)
    assert node.limits_w() == [490.0] * 4
    assert len(node.marks) == 4


async def test_without_a_driver_it_says_so_and_tries_again(node):
    node.driver.error("nvmlInitWithFlags", 9, DRIVER)
    with pytest.raises(ActionError, match="kernel module is not loaded"):
        await node.follow(0.7)
    node.driver.error("nvmlInitWithFlags", 0, DRIVER)
    await node.follow(0.7)
    assert node.limits_w() == [490.0] * 4


async def test_a_driver_that_hangs_at_its_start_is_told(tmp_path):
    with loaded(tmp_path) as driver:
        node = Node(driver, tmp_path, timeout_s=0.2)
        driver.hang("nvmlInitWithFlags", DRIVER)
        for _ in range(2):
            with pytest.raises(HungError, match="the NVIDIA driver"):
                await node.follow(0.7)
        driver.release()


async def test_a_call_that_was_given_up_while_it_waited_is_never_made():
    lane, go, made = Lane("gpu0"), threading.Event(), []
    first = asyncio.create_task(lane.call(lambda: go.wait(20), 30))
    await asyncio.sleep(0.05)
    with pytest.raises(HungError):
        await lane.call(lambda: made.append(1), 0.05)
    go.set()
    await first
    assert await lane.call(lambda: 3, 20) == 3
    assert made == []


def test_a_hung_call_does_not_hold_up_the_end_of_the_process(tmp_path):
    program = (
        "import asyncio, time\n"
        "from thermogate.schedulers.power_caps.lane import HungError, Lane\n"
        "async def main():\n"
        "    try:\n"
        "        await Lane('gpu0').call(lambda: time.sleep(600), 0.1)\n"
        "    except HungError as err:\n"
        "        print(err)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "gpu0 has not answered within 0.1 s\n")


def test_the_stub_keeps_a_limit_when_the_process_that_set_it_ends(tmp_path):
    program = (
        "import ctypes, sys, pynvml\n"
        "pynvml.nvmlLib = ctypes.CDLL(sys.argv[1])\n"
        "pynvml.nvmlInit()\n"
        "pynvml.nvmlDeviceSetPowerManagementLimit(pynvml.nvmlDeviceGetHandleByIndex(0), 300_000)\n"
    )
    with loaded(tmp_path) as driver:
        environ = {STATE_VARIABLE: str(driver.state)}
        subprocess.run([sys.executable, "-c", program, str(library())], env=environ, check=True)
        assert driver.power_limit_w(0) == 300.0
