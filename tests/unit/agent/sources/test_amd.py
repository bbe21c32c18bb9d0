"""What AMD GPUs measure, from small trees (amd_tree.py says where their layout comes from)."""

import pytest

from tests.fakes import FakeClock
from tests.unit.agent.sources.amd_source import ONE, PATIENT, TWO, fields
from tests.unit.agent.sources.amd_tree import MI300X, RADEON, AmdTree, metrics_1_3, metrics_1_8
from thermogate.agent.sources.amd import AmdSource


def test_an_instinct_says_all_that_its_files_have(tree: AmdTree, amd: AmdSource) -> None:
    tree.gpu(ONE, MI300X, 1)
    report = amd.open()
    assert (report.source, report.found, report.text) == ("amd", True, "1 x AMD Instinct MI300X OAM")
    assert fields(amd) == {
        "amd0": {
            "power_w": 712.0,
            "power_limit_w": 750.0,
            "temp_c": 78.0,
            "temp_limit_c": 100.0,
            "mem_temp_c": 63.0,
            "util_ratio": 0.97,
            "mem_util_ratio": 0.41,
            "mem_used_bytes": 170000000000,
            "mem_total_bytes": 206141652992,
            "sm_clock_hz": 2.1e9,
            "mem_clock_hz": 1.3e9,
            "ecc_corrected_count": 12,
            "ecc_uncorrected_count": 1,
        }
    }


def test_a_gpu_is_described_with_its_limits_and_where_it_sits(tree: AmdTree, amd: AmdSource) -> None:
    tree.gpu(ONE, MI300X, 1)
    amd.open()
    (info,) = amd.devices
    assert (info.kind, info.device, info.model) == ("gpu", "amd0", "AMD-Instinct-MI300X-OAM")
    assert (info.bus, info.uuid, info.power_kind) == (ONE, "eddb5c8e7eb14a2f", "instant")
    assert (info.rated_power_w, info.temp_limit_c, info.temp_shutdown_c) == (750.0, 100.0, 110.0)


def test_a_radeon_is_named_by_its_id_and_its_junction_is_its_temperature(
    tree: AmdTree, amd: AmdSource
) -> None:
    tree.gpu(ONE, RADEON, 0)
    amd.open()
    (info,) = amd.devices
    assert (info.model, info.power_kind) == ("AMD-744c", "average")
    assert (info.temp_limit_c, info.temp_shutdown_c) == (110.0, 115.0)
    seen = fields(amd)["amd0"]
    assert (seen["temp_c"], seen["power_w"], seen["fan_ratio"]) == (52.0, 53.0, 0.25)


def test_edge_is_the_temperature_of_a_gpu_without_junction_and_pwm_the_fan_of_one_without_speed(
    tree: AmdTree, amd: AmdSource
) -> None:
    old = {name: value for name, value in RADEON.items() if "temp2" not in name and "fan1" not in name}
    tree.gpu(ONE, old, 0)
    amd.open()
    seen = fields(amd)["amd0"]
    assert (seen["temp_c"], seen["temp_limit_c"], seen["fan_ratio"]) == (45.0, 100.0, 0.2)


def test_power_of_now_is_preferred_to_a_mean_where_both_are_measured(tree: AmdTree, amd: AmdSource) -> None:
    tree.gpu(ONE, {**RADEON, "hwmon/hwmon2/power1_input": 60000000}, 0)
    amd.open()
    assert amd.devices[0].power_kind == "instant"
    assert fields(amd)["amd0"]["power_w"] == 60.0


def test_the_second_die_of_a_module_has_no_power_of_its_own(tree: AmdTree, amd: AmdSource) -> None:
    second = {**MI300X, "hwmon/hwmon5/power1_input": 0, "hwmon/hwmon5/power1_cap": 0}
    tree.gpu(ONE, second, 1)
    amd.open()
    assert amd.devices[0].rated_power_w is None
    assert not {"power_w", "power_limit_w"} & fields(amd)["amd0"].keys()


def test_numbers_follow_the_pci_bus_and_others_cards_are_left_alone(tree: AmdTree, amd: AmdSource) -> None:
    tree.gpu(TWO, RADEON, 0)
    tree.gpu("10000:01:00.0", RADEON, 2)
    tree.gpu(ONE, MI300X, 1)
    tree.gpu("0000:07:00.0", {"vendor": "0x10de"}, 3)
    (tree.sysfs / "class/drm/card9-DP-1").mkdir()
    (tree.sysfs / "devices/platform/amdgpu_xcp_0").mkdir(parents=True)
    (tree.sysfs / "class/drm/card10").mkdir()
    (tree.sysfs / "class/drm/card10/device").symlink_to(tree.sysfs / "devices/platform/amdgpu_xcp_0")
    assert amd.open().text == "1 x AMD Instinct MI300X OAM, 2 x AMD 744c"
    assert [(info.device, info.bus) for info in amd.devices] == [
        ("amd0", ONE),
        ("amd1", TWO),
        ("amd2", "10000:01:00.0"),
    ]


def test_a_gpu_that_another_driver_has_is_not_ours(tree: AmdTree, amd: AmdSource) -> None:
    device = tree.gpu(ONE, MI300X, 1)
    (device / "driver").unlink()
    (device / "driver").symlink_to(tree.sysfs / "bus/pci/drivers/vfio-pci")
    report = amd.open()
    assert (report.found, report.text) == (False, "no AMD GPU (driver amdgpu)")
    assert amd.read() == ([], [])


def test_a_sensor_that_fails_for_now_is_left_out_of_this_tick_only(tree: AmdTree, amd: AmdSource) -> None:
    device = tree.gpu(ONE, MI300X, 1)
    amd.open()
    power = device / "hwmon/hwmon5/power1_input"
    power.write_text("", encoding="ascii")
    assert "power_w" not in fields(amd)["amd0"]
    power.write_text("700000000\n", encoding="ascii")
    assert fields(amd)["amd0"]["power_w"] == 700.0


def test_a_file_without_a_sensor_behind_it_is_left_alone(tree: AmdTree, amd: AmdSource) -> None:
    """The driver's EINVAL: a directory in place of the file fails to be read as well."""
    files = {name: value for name, value in MI300X.items() if name != "mem_busy_percent"}
    device = tree.gpu(ONE, files, 1)
    (device / "mem_busy_percent").write_text("nothing\n", encoding="ascii")
    amd.open()
    (device / "mem_busy_percent").write_text("50\n", encoding="ascii")
    assert "mem_util_ratio" not in fields(amd)["amd0"]


def test_memory_errors_are_counted_at_their_interval(tree: AmdTree, amd: AmdSource, clock: FakeClock) -> None:
    tree.gpu(ONE, MI300X, 1)
    amd.open()
    seen = fields(amd)["amd0"]
    assert (seen["ecc_corrected_count"], seen["ecc_uncorrected_count"]) == (12, 1)
    assert "ecc_corrected_count" not in fields(amd)["amd0"]
    clock.pass_time(PATIENT.errors_interval_s)
    tree.write(f"devices/pci0000:00/{ONE}/ras/umc_err_count", "ue: 1\nce: 13")
    assert fields(amd)["amd0"]["ecc_corrected_count"] == 13


def test_to_save_time_only_what_rle_and_safety_need_is_read(tree: AmdTree, amd: AmdSource) -> None:
    tree.gpu(ONE, MI300X, 1)
    tree.kfd_node(1, 51000, 0x0500)
    amd.open()
    amd.frugal = True
    readings, _ = amd.read()
    assert sorted(readings[0].fields) == [
        "mem_temp_c",
        "mem_total_bytes",
        "power_limit_w",
        "power_w",
        "temp_c",
        "temp_limit_c",
        "util_ratio",
    ]
    assert readings[0].pids is not None


def test_the_firmwares_table_gives_energy_and_throttling(tree: AmdTree, amd: AmdSource) -> None:
    device = tree.gpu(ONE, MI300X, 1)
    (device / "gpu_metrics").write_bytes(metrics_1_8(65536 * 1000, 1, 0, 0, 0, 0, 0))
    amd.open()
    first = fields(amd)["amd0"]
    (device / "gpu_metrics").write_bytes(metrics_1_8(65536 * 1700, 2, 0, 9, 0, 0, 5))
    second = fields(amd)["amd0"]
    assert (first["energy_j"], second["energy_j"]) == (1000.0, 1700.0)
    assert "throttled" not in first
    assert (second["throttled"], second["clock_event_sw_power_cap"]) == (1, 1)


@pytest.mark.parametrize(("device_id", "energy_j"), [("0x740f", 1000.0), ("0x744c", None)])
def test_energy_of_a_table_without_a_unit_is_taken_only_where_the_unit_is_known(
    tree: AmdTree, amd: AmdSource, device_id: str, energy_j: float | None
) -> None:
    device = tree.gpu(ONE, {**RADEON, "device": device_id}, 1)
    (device / "gpu_metrics").write_bytes(metrics_1_3(65536 * 1000, 1 << 36))
    amd.open()
    seen = fields(amd)["amd0"]
    assert seen.get("energy_j") == energy_j
    assert (seen["throttled"], seen["clock_event_sw_power_cap"]) == (1, 0)
