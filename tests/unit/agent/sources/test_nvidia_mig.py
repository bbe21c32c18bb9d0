"""MIG: GPUs that are divided, and their instances."""

from tests.fakes import FakeClock
from tests.nvml_stub.driver import StubDriver
from tests.unit.agent.sources.gpus import HOST, NOT_SUPPORTED, UNKNOWN, fields_of, opened
from thermogate.agent.sources.nvidia import NvidiaSettings, NvidiaSource
from thermogate.core.model import DeviceInfo

SETTINGS = NvidiaSettings(read_timeout_s=5.0, slow_interval_s=10.0)


def divided(driver: StubDriver, gpu: int) -> None:
    """Two instances, and what an H100 in MIG mode no longer tells."""
    driver.mig(gpu, 0)
    driver.mig(gpu, 1, name="NVIDIA H100 80GB HBM3 MIG 2g.20gb", mem_total_bytes=20_000_000_000)
    driver.error("nvmlDeviceGetUtilizationRates", NOT_SUPPORTED, gpu)


def test_the_instances_of_a_gpu_are_devices_below_it(driver: StubDriver) -> None:
    divided(driver, 0)
    with opened(SETTINGS) as source:
        readings, _ = source.read()
        assert [info.device for info in source.devices[:4]] == ["0", "0.0", "0.1", "1"]
        assert source.devices[1] == DeviceInfo(
            kind="gpu",
            device="0.0",
            model="H100-80GB-HBM3-MIG-1g.10gb",
            name="NVIDIA H100 80GB HBM3 MIG 1g.10gb",
            uuid="MIG-00000000-0",
            parent="0",
        )
    assert [reading.device for reading in readings[:4]] == ["0", "0.0", "0.1", "1"]
    assert readings[2].fields == {"mem_used_bytes": 1_000_000_000, "mem_total_bytes": 20_000_000_000}


def test_the_gpu_itself_is_measured_as_ever_but_for_what_it_does_not_support(driver: StubDriver) -> None:
    divided(driver, 0)
    with opened(SETTINGS) as source:
        readings, _ = source.read()
    whole, other = fields_of(readings, "0"), fields_of(readings, "1")
    assert other.keys() - whole.keys() == {"util_ratio", "mem_util_ratio"}
    assert whole["power_w"] == 612.4


def test_processes_are_told_of_their_instance_and_of_the_whole_gpu(driver: StubDriver) -> None:
    divided(driver, 0)
    driver.process("0.0", 100)
    driver.process("0.1", 200)
    driver.process("0.1", 201)
    with opened(SETTINGS) as source:
        readings, _ = source.read()
    assert [reading.pids for reading in readings[:4]] == [(100, 200, 201), (100,), (200, 201), ()]


def test_instances_that_come_at_run_time_are_found_at_the_slow_interval(
    driver: StubDriver,
) -> None:
    clock = FakeClock()
    divided(driver, 0)
    with opened(SETTINGS, clock) as source:
        source.read()
        looks = driver.calls("nvmlDeviceGetMigDeviceHandleByIndex", 0)
        driver.mig(0, 2)
        clock.pass_time(1.0)
        before, _ = source.read()
        assert driver.calls("nvmlDeviceGetMigDeviceHandleByIndex", 0) == looks
        clock.pass_time(9.0)
        after, _ = source.read()
        assert [info.device for info in source.devices[:5]] == ["0", "0.0", "0.1", "0.2", "1"]
    assert [reading.device for reading in before[:4]] == ["0", "0.0", "0.1", "1"]
    assert [reading.device for reading in after[:5]] == ["0", "0.0", "0.1", "0.2", "1"]


def test_an_instance_that_is_destroyed_is_absent_at_once_and_then_gone(
    driver: StubDriver,
) -> None:
    clock = FakeClock()
    divided(driver, 0)
    with opened(SETTINGS, clock) as source:
        source.read()
        driver.forget("0.0")
        clock.pass_time(1.0)
        readings, events = source.read()
        assert [reading.device for reading in readings[:3]] == ["0", "0.1", "1"]
        assert events == []
        clock.pass_time(1.0)
        source.read()
        assert [info.device for info in source.devices[:3]] == ["0", "0.1", "1"]


def test_when_mig_is_switched_on_or_off_it_is_asked_again_what_the_gpu_supports(driver: StubDriver) -> None:
    clock = FakeClock()
    with opened(SETTINGS, clock) as source:
        first, _ = source.read()
        divided(driver, 0)
        clock.pass_time(10.0)
        on, _ = source.read()
        driver.set(0, mig=0)
        driver.error("nvmlDeviceGetUtilizationRates", 0, 0)
        clock.pass_time(10.0)
        off, _ = source.read()
    assert ["util_ratio" in fields_of(readings, "0") for readings in (first, on, off)] == [True, False, True]
    assert [len(readings) for readings in (first, on, off)] == [8, 10, 8]


def test_a_mode_that_cannot_be_told_now_changes_nothing(driver: StubDriver) -> None:
    clock = FakeClock()
    divided(driver, 0)
    with opened(SETTINGS, clock) as source:
        driver.error("nvmlDeviceGetMigMode", UNKNOWN)
        clock.pass_time(10.0)
        readings, _ = source.read()
    assert len(readings) == 10


def test_a_gpu_without_mig_is_asked_once(driver: StubDriver) -> None:
    clock = FakeClock()
    driver.unset("*", "mig")
    with opened(SETTINGS, clock) as source:
        for _ in range(3):
            clock.pass_time(10.0)
            source.read()
    assert driver.calls("nvmlDeviceGetMigMode", 0) == 1
    assert driver.calls("nvmlDeviceGetMaxMigDeviceCount", 0) == 0


def test_a_frugal_source_leaves_instances_out(driver: StubDriver) -> None:
    divided(driver, 0)
    with opened(SETTINGS) as source:
        source.frugal = True
        readings, _ = source.read()
    assert [reading.device for reading in readings[:2]] == ["0", "1"]


def test_the_report_counts_instances(driver: StubDriver) -> None:
    divided(driver, 0)
    source = NvidiaSource(SETTINGS, HOST, FakeClock())
    text = source.open().text
    source.close()
    assert "1 x NVIDIA H100 80GB HBM3 (power instant; without utilization, fan; 2 MIG instances)" in text
