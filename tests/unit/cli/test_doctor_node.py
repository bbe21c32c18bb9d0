"""What `thermogate doctor` makes of the machine: packages, users, drivers, sensors, clock, service."""

import argparse
import fcntl
import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from thermogate.cli.checks import (
    configuration,
    gpus,
    nvidia,
    packages,
    people,
    sensors,
    service,
    timekeeping,
    unit,
)
from thermogate.cli.checks.config import DoctorSettings
from thermogate.cli.checks.gpus import KernelLook, PciGpu
from thermogate.cli.checks.people import READ, WRITE, Access, Person, Process
from thermogate.cli.checks.sensing import Happened, Sensed
from thermogate.cli.checks.service import ServiceLook
from thermogate.cli.checks.spool_look import SpoolLook
from thermogate.cli.checks.timekeeping import Clock
from thermogate.cli.checks.unit import UnitLook
from thermogate.cli.layout import Layout
from thermogate.core.model import DeviceInfo, SourceReport
from thermogate.core.schema import MEASUREMENTS
from thermogate.core.wire import Point

SETTINGS = DoctorSettings()
AGENT = Person("thermogate", 991, (991,))
NO_SPOOL = SpoolLook(folder="/x", exists=False)
NODES = (Access("/dev/nvidiactl", 0o20666, 0, 0), Access("/dev/nvidia0", 0o20666, 0, 0))
TWO = (PciGpu("0000:10:00.0", gpus.NVIDIA, "nvidia"), PciGpu("0000:11:00.0", gpus.NVIDIA, "nvidia"))
FINE = KernelLook(gpus=TWO, nvidia_module="570.86.15", nodes=NODES, pressure=True)
GPU_FIELDS = ("power_w", "power_limit_w", "temp_c", "temp_limit_c", "util_ratio")


def gpu(number, **changes):
    values = {"kind": "gpu", "device": str(number), "model": "H100", "name": "NVIDIA H100"}
    return DeviceInfo(**(values | {"bus": f"00000000:{16 + number:02X}:00.0"} | changes))


def sensed(*devices, found=True, text="2 x NVIDIA H100; NVIDIA driver 570.86.15", **changes):
    report = SourceReport("nvml", found, text)
    fields = {device.kind + device.device: GPU_FIELDS for device in devices}
    return Sensed(**({"reports": (report,), "devices": devices, "fields": fields} | changes))


def only(findings, check):
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def about(finding, state, cause, cure):
    assert finding.state == state
    assert cause in finding.cause
    assert cure in finding.cure


# packages


def test_what_is_installed_here_is_whole():
    findings = packages.judge(packages.look())
    assert {finding.check: finding.state for finding in findings} == {
        "installation.python": "ok",
        "installation.packages": "ok",
    }
    assert "nvidia-ml-py" in only(findings, "installation.packages").found


def test_the_deprecated_package_beside_nvidia_ml_py_is_warned_of():
    findings = packages.judge({"msgspec": "0.19", "nvidia-ml-py": "13.1", "pynvml": "11.5.3"})
    about(only(findings, "installation.packages"), "warn", "pynvml 11.5.3", "uninstall -y pynvml")


def test_a_missing_package_fails_with_the_extra_to_install():
    findings = packages.judge({"msgspec": "0.19", "nvidia-ml-py": None, "pynvml": "11.5.3"})
    about(only(findings, "installation.packages"), "fail", "nvidia-ml-py", "install 'thermogate[agent]'")


def test_an_old_python_fails():
    about(packages.judge({}, (3, 9, 2))[0], "fail", "3.11 or newer", "/opt/thermogate")


# people


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "person", "allowed"),
    [
        (0o666, 0, 0, AGENT, True),
        (0o660, 0, 44, AGENT, False),
        (0o660, 0, 44, Person("thermogate", 991, (991, 44)), True),
        (0o600, 991, 0, AGENT, True),
        (0o066, 991, 0, AGENT, False),
        (0o600, 0, 0, Person("root", 0), True),
        (0o600, 0, 0, Person("thermogate", 991, (), 1 << 1), True),
        (0o600, 0, 0, Person("thermogate", 991, (), 1 << 2), False),
    ],
)
def test_a_mode_lets_in_whom_the_kernel_would(mode, uid, gid, person, allowed):
    assert people.may(person, Access("/dev/x", 0o20000 | mode, uid, gid), READ | WRITE) is allowed


def test_a_node_with_the_agents_packages_alone_can_ask_the_doctor():
    heavy = {"numpy", "aiohttp", "duckdb", "plotly", "iotcore", "pydantic"}
    code = "import sys, thermogate.cli.doctor, thermogate.cli.checks.sensing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0000:18:00.0", "00000000:18:00.0", True),
        ("0000:18:00.0", "18:00.0", True),
        ("0001:18:00.0", "00000000:18:00.0", False),
        ("0000:1A:00.0", "0000:1a:00.0", True),
        ("0000:18:00.0", "not an address", False),
        ("", "not an address", False),
    ],
)
def test_addresses_on_the_bus_are_compared_whoever_wrote_them(one, other, same):
    assert gpus.same_bus(one, other) is same


def test_a_process_is_known_with_its_user_and_groups():
    found = people.process(os.getpid())
    assert found is not None
    assert (found.person.uid, found.person.name) == (os.geteuid(), pwd.getpwuid(os.geteuid()).pw_name)
    assert people.process(2**22 + 1) is None


# the kernel's view


def pci(sysfs, address, vendor, kind="0x030200", driver="", config=b"\xde\x10"):
    device = sysfs / "bus/pci/devices" / address
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    (device / "config").write_bytes(config)
    if driver:
        folder = sysfs / "bus/pci/drivers" / driver
        folder.mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(folder)


def test_gpus_of_the_bus_are_found_with_their_drivers(tmp_path):
    sysfs, procfs, dev = tmp_path / "sys", tmp_path / "proc", tmp_path / "dev"
    pci(sysfs, "0000:18:00.0", "0x10de", driver="nvidia")
    pci(sysfs, "0000:19:00.0", "0x10de", config=b"\xff\xff")
    pci(sysfs, "0000:c1:00.0", "0x1002", kind="0x038000", driver="amdgpu")
    pci(sysfs, "0000:03:00.0", "0x1a03", kind="0x030000", driver="ast")
    pci(sysfs, "0000:18:00.1", "0x10de", kind="0x040300", driver="snd_hda_intel")
    (sysfs / "module/nvidia").mkdir(parents=True)
    (sysfs / "module/nvidia/version").write_text("570.86.15\n")
    dev.mkdir()
    (dev / "nvidia0").touch(mode=0o600)
    (procfs / "pressure").mkdir(parents=True)
    (procfs / "cpuinfo").write_text("flags\t\t: fpu hypervisor sse\n")
    look = gpus.look(sysfs, procfs, dev)
    assert look.of(gpus.NVIDIA) == [
        PciGpu("0000:18:00.0", gpus.NVIDIA, "nvidia"),
        PciGpu("0000:19:00.0", gpus.NVIDIA, "", answers=False),
    ]
    assert look.of(gpus.AMD) == [PciGpu("0000:c1:00.0", gpus.AMD, "amdgpu")]
    assert (look.nvidia_module, look.virtual, look.pressure) == ("570.86.15", True, True)
    assert [node.path for node in look.nodes] == [str(dev / "nvidia0")]


def test_trees_that_are_not_there_show_nothing(tmp_path):
    assert gpus.look(tmp_path, tmp_path, tmp_path) == KernelLook()


# NVIDIA


def test_a_driver_that_lists_every_gpu_of_the_bus_is_well():
    findings = nvidia.judge(sensed(gpu(0), gpu(1)), FINE, AGENT)
    assert {finding.check: finding.state for finding in findings} == {
        "nvidia.driver": "ok",
        "nvidia.permission": "ok",
        "nvidia.gpus": "ok",
    }


def test_a_machine_without_a_gpu_has_nothing_to_check():
    (finding,) = nvidia.judge(
        sensed(found=False, text="no NVIDIA driver: GPU source off"), KernelLook(), AGENT
    )
    assert finding.state == "n/a"


@pytest.mark.parametrize(
    ("kernel", "text", "cause", "cure"),
    [
        (KernelLook(gpus=TWO), "no NVIDIA driver", "module nvidia is not loaded", "modprobe nvidia"),
        (
            KernelLook(gpus=(PciGpu("0000:10:00.0", gpus.NVIDIA, "nouveau"),)),
            "no NVIDIA driver",
            "nouveau holds the 1 NVIDIA GPU",
            "blacklist nouveau",
        ),
        (
            KernelLook(gpus=TWO, nvidia_module="570"),
            "no NVIDIA driver",
            "/dev/nvidiactl is not",
            "nvidia-modprobe",
        ),
        (
            KernelLook(gpus=TWO, nvidia_module="570", nodes=(Access("/dev/nvidiactl", 0o20660, 0, 44),)),
            "no permission",
            "thermogate may not use crw-rw---- root",
            "usermod -aG",
        ),
        (
            KernelLook(gpus=TWO, nvidia_module="570", nodes=(Access("/dev/nvidiactl", 0o20600, 0, 0),)),
            "no permission",
            "thermogate may not use crw-------",
            "NVreg_DeviceFileMode=0666",
        ),
    ],
)
def test_why_the_driver_does_not_start_is_read_off_the_kernel(kernel, text, cause, cure):
    (finding,) = nvidia.judge(sensed(found=False, text=text), kernel, AGENT)
    assert finding.check == "nvidia.driver"
    about(finding, "fail", cause, cure)


def test_gpus_that_are_passed_through_are_nobodys_problem():
    kernel = KernelLook(gpus=(PciGpu("0000:10:00.0", gpus.NVIDIA, "vfio-pci"),))
    (finding,) = nvidia.judge(sensed(found=False, text="no NVIDIA driver"), kernel, AGENT)
    assert finding.state == "n/a"


def test_root_sees_gpus_that_the_agent_may_not_open():
    nodes = (NODES[0], Access("/dev/nvidia0", 0o20660, 0, 44))
    findings = nvidia.judge(
        sensed(gpu(0), gpu(1)), KernelLook(gpus=TWO, nvidia_module="570", nodes=nodes), AGENT
    )
    finding = only(findings, "nvidia.permission")
    about(finding, "fail", "thermogate may not use", "usermod -aG")
    assert "/dev/nvidia0" in finding.found


@pytest.mark.parametrize(
    ("lost", "cause", "cure"),
    [
        (
            PciGpu("0000:12:00.0", gpus.NVIDIA, "nvidia", answers=False),
            "fallen off the bus",
            "replace the GPU",
        ),
        (PciGpu("0000:12:00.0", gpus.NVIDIA, ""), "no driver is bound", "/sys/bus/pci/drivers/nvidia/bind"),
        (PciGpu("0000:12:00.0", gpus.NVIDIA, "nouveau"), "nouveau holds it", "unbind"),
        (PciGpu("0000:12:00.0", gpus.NVIDIA, "nvidia"), "cannot use it", "dmesg"),
    ],
)
def test_a_gpu_of_the_bus_that_is_not_listed_is_named_with_why(lost, cause, cure):
    kernel = KernelLook(gpus=(*TWO, lost), nvidia_module="570", nodes=NODES)
    finding = only(nvidia.judge(sensed(gpu(0), gpu(1)), kernel, AGENT), "nvidia.gpus")
    about(finding, "fail", cause, cure)
    assert "0000:12:00.0" in finding.found
    blind = only(nvidia.judge(sensed(gpu(0, bus=""), gpu(1, bus="")), kernel, AGENT), "nvidia.gpus")
    assert blind.state == "fail"


def test_an_instance_of_a_gpu_counts_for_no_gpu():
    instance = gpu(2, device="0.1", parent="0", bus="")
    findings = nvidia.judge(sensed(gpu(0), instance), FINE, AGENT)
    assert "1 of 2 GPUs" in only(findings, "nvidia.gpus").found


# sensors


def judged(seen, kernel=FINE, spool=NO_SPOOL, person=AGENT):
    return sensors.judge(seen, kernel, spool, person, 1.0, SETTINGS)


def test_what_a_device_gives_and_what_not_is_one_line_for_devices_alike():
    finding = only(judged(sensed(gpu(0), gpu(1))), "sensors.gpu0, gpu1")
    assert finding.state == "ok"
    assert "power_w" in finding.found.partition("not:")[0]
    assert "fan_ratio" in finding.found.partition("not:")[2]
    assert "rle" not in finding.found.split()


def test_computed_fields_are_fields_of_the_schema():
    assert {field.name for field in MEASUREMENTS["gpu"].fields} >= sensors.COMPUTED


def test_a_gpu_without_what_rle_needs_is_warned_of():
    finding = only(judged(sensed(gpu(0), fields={"gpu0": ("temp_c", "util_ratio")})), "sensors.gpu0")
    about(finding, "warn", "power_w, temp_limit_c, power_limit_w", "nvidia-smi -q")


def test_a_part_of_a_gpu_needs_no_limits_of_its_own():
    part = gpu(0, device="0.1", parent="0")
    assert only(judged(sensed(part, fields={"gpu0.1": ("util_ratio",)})), "sensors.gpu0.1").state == "ok"


@pytest.mark.parametrize(
    ("event", "cause", "cure"),
    [
        ("driver_hung", "does not return", "reboot"),
        ("gpu_lost", "fallen off the bus", "power it off and on"),
        ("xid", "reported an error", "XID"),
    ],
)
def test_what_a_driver_does_to_a_gpu_meanwhile_is_a_failure(event, cause, cure):
    happened = Happened(event, "gpu1", "gpu1 hangs in nvmlDeviceGetPowerUsage")
    findings = judged(sensed(gpu(0), gpu(1), fields={"gpu0": GPU_FIELDS}, happened=(happened,)))
    finding = only(findings, "sensors.gpu1")
    about(finding, "fail", cause, cure)
    assert "nvmlDeviceGetPowerUsage" in finding.found


def test_what_happens_to_all_gpus_alike_is_said_once():
    alike = tuple(
        Happened("driver_hung", f"gpu{number}", f"gpu{number} has not answered for 4 s")
        for number in range(8)
    )
    seen = sensed(*(gpu(number) for number in range(8)), fields={}, happened=alike)
    (finding,) = [finding for finding in judged(seen) if finding.state == "fail"]
    assert (finding.check, finding.found) == ("sensors.gpu0-gpu7", "has not answered for 4 s")


def test_a_driver_that_hangs_is_told_where_the_bus_cannot_be_seen():
    text = "the NVIDIA driver did not start within 4 s: GPU source off until it does"
    (finding,) = nvidia.judge(sensed(found=False, text=text), KernelLook(), AGENT)
    about(finding, "fail", "does not return", "reboot")


def test_a_silent_gpu_fails():
    finding = only(judged(sensed(gpu(0), fields={})), "sensors.gpu0")
    about(finding, "fail", "gives no value", "dmesg")


def test_sensors_that_hang_whole_are_told_and_so_is_a_crash():
    about(judged(Sensed(failed="no answer", hung=True))[0], "fail", "hangs", "reboot")
    about(judged(Sensed(failed="ended with 1"))[0], "fail", "crashed", "thermogate agent")


def test_rapl_for_root_only_is_warned_of_although_root_reads_it():
    kernel = KernelLook(rapl=(Access("/sys/class/powercap/intel-rapl:0/energy_uj", 0o100400, 0, 0),))
    seen = Sensed(fields={"cpu0": ("energy_j", "temp_c")})
    about(only(judged(seen, kernel), "sensors.cpu_power"), "warn", "runs as thermogate", "agent install")
    root = only(judged(seen, kernel, person=Person("root", 0)), "sensors.cpu_power")
    assert root.state == "ok"


def test_a_virtual_machine_has_no_sensors_of_its_cpu_and_that_is_fine():
    findings = judged(Sensed(fields={"cpu0": ("util_ratio",)}), KernelLook(virtual=True, pressure=True))
    assert only(findings, "sensors.cpu_power").state == "n/a"
    assert only(findings, "sensors.cpu_temp").state == "n/a"


def test_bare_metal_without_rapl_and_hwmon_is_told_which_modules_bring_them():
    findings = judged(Sensed(fields={"cpu0": ("util_ratio",)}), KernelLook(pressure=True))
    about(only(findings, "sensors.cpu_power"), "warn", "no RAPL", "modprobe intel_rapl_msr")
    about(only(findings, "sensors.cpu_temp"), "warn", "no coretemp", "modprobe coretemp")


def test_a_kernel_without_psi_is_told_how_to_have_it():
    assert "psi=1" in only(judged(Sensed(), KernelLook()), "sensors.pressure").found


def test_an_amd_gpu_without_amdgpu_is_warned_of():
    kernel = KernelLook(gpus=(PciGpu("0000:c1:00.0", gpus.AMD, ""),), pressure=True)
    about(only(judged(Sensed(), kernel), "sensors.amd_bus"), "warn", "not bound", "modprobe amdgpu")
    known = Sensed(devices=(gpu(0, bus="0000:c1:00.0"),), fields={"gpu0": GPU_FIELDS})
    assert only(judged(known, kernel), "sensors.amd_bus").state == "ok"


def test_a_slow_sweep_is_warned_of():
    finding = only(judged(sensed(gpu(0), sweep_s=0.7)), "sensors.sweep")
    about(finding, "warn", "slow", "agent.period_s")
    assert "700 ms of each 1 s" in finding.found


def spool_of(ticks):
    """What an agent has spooled after so many ticks: all of a GPU but its power."""
    points = {"gpu0": Point("gpu", "n17", "0", "H100", "", dict.fromkeys(GPU_FIELDS[1:], 1.0), 1)}
    if ticks:
        points["agent"] = Point("agent", "n17", "", "", "", {"ticks_count": ticks}, 1)
    return SpoolLook(folder="/x", newest_age_s=0.5, writer=Process(4711, AGENT), points=points)


@pytest.mark.parametrize("ticks", [0, 10])
def test_an_agent_that_has_just_started_is_not_blamed_for_what_it_has_not_read_yet(ticks):
    finding = only(judged(sensed(gpu(0)), spool=spool_of(ticks)), "sensors.agent")
    assert (finding.state, "just started" in finding.found) == ("n/a", True)


def test_what_root_sees_and_the_running_agent_does_not_is_named():
    finding = only(judged(sensed(gpu(0)), spool=spool_of(20)), "sensors.agent")
    about(finding, "warn", "its user may not read them", "restart thermogate-agent")
    assert finding.found == "the running agent (thermogate) does not get gpu0 power_w"


# clock


def test_the_kernel_says_how_right_its_clock_is():
    clock = timekeeping.look()
    assert clock.max_error_s is None or clock.max_error_s >= 0.0


@pytest.mark.parametrize(
    ("clock", "state", "words"),
    [
        (Clock(0.03, 0.0001), "ok", "off by 0.03 s at most"),
        (Clock(16.0, 16.0), "warn", "not synchronized"),
        (Clock(7.5, 0.1), "warn", "off by 7.5 s"),
        (Clock(why_not="adjtimex: Operation not permitted"), "n/a", "not permitted"),
    ],
)
def test_a_clock_that_nobody_keeps_is_warned_of(clock, state, words):
    (finding,) = timekeeping.judge(clock, (0.4, -1.1), SETTINGS)
    assert finding.state == state
    assert words in finding.found
    assert state != "warn" or "timedatectl" in finding.cure


def test_steps_of_the_clock_are_told():
    finding = only(timekeeping.judge(Clock(0.0, 0.0), (0.1, -3600.0), SETTINGS), "clock.jumps")
    about(finding, "warn", "overlap", "makestep")
    assert "-3600.0 s" in finding.found


# service

RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "Result": "success",
    "ExecMainStatus": "0",
    "MemoryCurrent": "31457280",
    "MemoryMax": "134217728",
    "WatchdogUSec": "30s",
    "StatusText": "8 gpu, 2 cpu",
    "NeedDaemonReload": "no",
}


def test_a_service_in_good_health_is_ok():
    findings = service.judge(ServiceLook(shown=RUNNING))
    assert {finding.state for finding in findings} == {"ok"}
    assert "8 gpu, 2 cpu" in only(findings, "service.unit").found
    assert only(findings, "service.memory").found == "30 MiB of 128 MiB"


@pytest.mark.parametrize(
    ("changes", "check", "state", "cause", "cure"),
    [
        (
            {"ActiveState": "failed", "ExecMainStatus": "78"},
            "unit",
            "fail",
            "configuration is wrong",
            "journalctl",
        ),
        ({"ActiveState": "failed", "Result": "watchdog"}, "unit", "fail", "watchdog ended it", "restart"),
        ({"ActiveState": "failed", "Result": "oom-kill"}, "unit", "fail", "MemoryMax", "restart"),
        ({"ActiveState": "inactive"}, "unit", "fail", "somebody stopped it", "enable --now"),
        (
            {"ActiveState": "activating", "Result": "exit-code", "ExecMainStatus": "1"},
            "unit",
            "fail",
            "status 1",
            "read",
        ),
        (
            {"ActiveState": "activating", "SubState": "start"},
            "unit",
            "warn",
            "when its first sample is in the spool",
            "wait for up to 90 s",
        ),
        (
            {"ActiveState": "activating", "SubState": "start", "NRestarts": "4"},
            "unit",
            "fail",
            "it ended 4 times",
            "journalctl",
        ),
        ({"UnitFileState": "disabled"}, "unit", "warn", "not start when the node boots", "systemctl enable"),
        ({"NeedDaemonReload": "yes"}, "unit", "warn", "unit file has changed", "daemon-reload"),
        ({"LoadState": "bad-setting"}, "unit", "fail", "cannot load", "systemd-analyze verify"),
        ({"NRestarts": "5"}, "restarts", "warn", "started again", "journalctl"),
        ({"MemoryCurrent": "130000000"}, "memory", "warn", "near its limit", "restart"),
    ],
)
def test_what_is_wrong_with_the_service_has_cause_and_cure(changes, check, state, cause, cure):
    about(only(service.judge(ServiceLook(shown=RUNNING | changes)), f"service.{check}"), state, cause, cure)


def test_without_systemd_or_a_unit_there_is_nothing_to_judge(tmp_path):
    (finding,) = service.judge(service.look(1.0, booted=tmp_path / "no"))
    assert (finding.state, finding.found) == ("n/a", "systemd does not run this machine")
    (finding,) = service.judge(ServiceLook(shown={"LoadState": "not-found"}))
    assert finding.state == "n/a"
    assert "thermogate agent install" in finding.found


def test_the_last_warnings_of_the_log_are_picked_by_priority_or_word():
    texts = [
        ("6", "connected"),
        ("6", "WARNING a: disk full"),
        ("3", "lost the broker"),
        ("6", "ticks go on"),
    ]
    lines = [json.dumps({"PRIORITY": priority, "MESSAGE": text}) for priority, text in texts]
    said = service.bad_lines([*lines, "not JSON", json.dumps({"MESSAGE": [1, 2]})])
    assert said == ("WARNING a: disk full", "lost the broker")
    finding = only(service.judge(ServiceLook(shown=RUNNING, warnings=said)), "service.log")
    about(finding, "warn", "disk full | lost the broker", "journalctl")


def test_the_line_with_which_the_agent_ended_itself_is_the_cause():
    line = "thermogate: /var/lib/thermogate/spool/n17: cannot keep the spool here: Permission denied"
    said = service.bad_lines(
        [json.dumps({"PRIORITY": "6", "MESSAGE": text}) for text in ("n17: sampling", line)]
    )
    assert said == (line,)
    state = {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"}
    look = ServiceLook(shown=RUNNING | state | {"ExecMainStatus": "1"}, warnings=said)
    about(only(service.judge(look), "service.unit"), "fail", "cannot keep the spool here", "journalctl")


def test_what_an_earlier_run_of_the_service_complained_of_is_over_once_it_runs():
    look = {"InvocationID": "f3d5"}
    assert service.lines_of(RUNNING | look)[0] == "_SYSTEMD_INVOCATION_ID=f3d5"
    assert service.lines_of(RUNNING) == []
    coming = RUNNING | look | {"ActiveState": "activating"}
    assert service.lines_of(coming)[0] == "_SYSTEMD_UNIT=thermogate-agent.service"


def test_the_environment_that_systemd_gives_is_read_as_it_shows_it():
    shown = 'THERMOGATE_AGENT_NODE=n99 "FOO=b c" X=\n'
    assert unit.environment(shown) == {"THERMOGATE_AGENT_NODE": "n99", "FOO": "b c", "X": ""}
    assert unit.environment('"not closed') == {}


def test_without_systemd_there_is_no_unit_to_ask(tmp_path):
    assert unit.look(1.0, booted=tmp_path / "no") == UnitLook()


@pytest.fixture
def installed(tmp_path):
    """An installed service's files, and the arguments of a doctor that is given none."""
    layout = Layout(tmp_path)
    layout.credentials.mkdir(parents=True)
    layout.config.write_text('[mqtt]\nurl = "mqtt://broker.example"\nusername = "n17"\n')
    given = {"config": None, "broker": None, "node": None, "data_dir": None, "sets": []}
    return layout, argparse.Namespace(**given)


def test_the_services_environment_says_which_node_is_examined(installed):
    layout, args = installed
    here = {"THERMOGATE_AGENT_NODE": "shell"}
    look = UnitLook(environ={"THERMOGATE_AGENT_NODE": "n99"})
    assert configuration.find(args, here, layout, look).node == "n99"
    args.config = layout.folder / "other.toml"
    args.config.write_text("")
    assert configuration.find(args, here, layout, look).node == "shell"


def test_credentials_of_the_running_service_are_used_however_it_came_by_them(installed, tmp_path):
    layout, args = installed
    (layout.credentials / "mqtt.password_file").write_text("old")
    running = tmp_path / "run"
    running.mkdir()
    (running / "mqtt.password_file").write_text("secret")
    found = configuration.find(args, {}, layout, UnitLook(credentials=running, encrypted=True))
    assert (found.mqtt.password_file, found.secrets_hidden) == (f"{running}/mqtt.password_file", "")
    stopped = configuration.find(args, {}, layout, UnitLook(encrypted=True))
    assert stopped.secrets_hidden == "encrypted"


def test_settings_that_the_services_user_may_not_read_are_a_failure_for_root_too():
    other = Person("thermogate", os.geteuid() + 1, (os.getegid() + 1,))
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / "thermogate.toml"
        file.touch(mode=0o600)
        (finding,) = configuration.readable(file, other)
        about(finding, "fail", "thermogate may not read it: drwx------ ", f"chmod o+rx {folder}")
        folder.chmod(0o755)
        (finding,) = configuration.readable(file, other)
        about(finding, "fail", "thermogate may not read it: -rw------- ", f"chmod o+r {file}")
        file.chmod(0o644)
        assert configuration.readable(file, other) == []
        assert configuration.readable(file, None) == []


def test_a_lock_on_another_disks_file_of_the_same_number_is_not_taken_for_this_one(tmp_path):
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "self").symlink_to("/proc/self")
    (proc / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    file = tmp_path / "held"
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        locks = Path("/proc/locks").read_text()
        assert people.lock_holder(file).pid == os.getpid()
        (proc / "locks").write_text(locks)
        assert people.lock_holder(file, proc).pid == os.getpid()
        inode = file.stat().st_ino
        (proc / "locks").write_text(re.sub(rf"\S+:{inode} ", f"7f:7f:{inode} ", locks))
        assert people.lock_holder(file, proc) is None


def test_no_lock_means_no_holder(tmp_path):
    assert people.lock_holder(tmp_path) is None
    assert people.lock_holder(tmp_path / "missing") is None
    assert people.lock_holder(tmp_path, procfs=Path("/nowhere")) is None
