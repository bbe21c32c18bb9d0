"""Judgement of sensors: which fields each device gives, which it does not, and why."""

from collections.abc import Sequence

from thermogate.cli.checks.config import DoctorSettings
from thermogate.cli.checks.finding import PROGRAM, Finding, absent, fail, ok, span, warn
from thermogate.cli.checks.gpus import AMD, KernelLook, same_bus
from thermogate.cli.checks.nvidia import SOURCE as NVML
from thermogate.cli.checks.people import READ, Person, may
from thermogate.cli.checks.sensing import Happened, Sensed
from thermogate.cli.checks.spool_look import SpoolLook
from thermogate.core.model import DeviceInfo
from thermogate.core.schema import MEASUREMENTS

COMPUTED = frozenset(
    ("rle", "rle_raw", "e_th", "e_pw", "a_load_ratio", "t_sustain_s", "rle_peak", "collapse", "throttled")
)
"""Fields that the agent computes from others, not sensors; `throttled` is one on some devices only."""
_WANTED = ("power_w", "temp_c", "util_ratio")
"""What RLE and collapse are computed from, besides the limits."""
_WARM_TICKS = 15
"""Ticks after which an agent has given every field: counters need two, some sensors take turns."""
_LOG = "dmesg -T | grep -iE 'nvrm|xid'"
_HUNG = ("a driver or the kernel hangs in a call", f"{_LOG}; drain the node and reboot it")
_CRASHED = (
    "the process that reads the sensors crashed, and so may the agent",
    f"{PROGRAM} agent --for 5s --data-dir $(mktemp -d) shows all of it; install thermogate afresh",
)

_CURES = {
    "driver_hung": ("the driver does not return from that call", f"{_LOG}; drain the node and reboot it"),
    "gpu_lost": (
        "it has fallen off the bus, or its driver gave it up",
        f"{_LOG}; drain the node, power it off and on; if it comes again, replace the GPU",
    ),
    "xid": ("the driver reported an error of this GPU", f"{_LOG}; look the XID up in NVIDIA's list"),
    "source_failed": ("all of its devices are silent", f"{_LOG}; systemctl restart thermogate-agent"),
}


def judge(
    sensed: Sensed,
    kernel: KernelLook,
    spool: SpoolLook,
    person: Person,
    period_s: float,
    settings: DoctorSettings,
) -> list[Finding]:
    """`person` is who the agent runs as, or would."""
    if sensed.failed:
        return [fail("sensors.read", sensed.failed, *(_HUNG if sensed.hung else _CRASHED))]
    findings = [*_happened(sensed.happened), *_devices(sensed)]
    findings += [*_cpu(sensed, kernel, person), *_amd(sensed, kernel), *_sources(sensed)]
    findings += [*_pressure(kernel), *_grid(sensed, period_s, settings)]
    return findings + _agent(sensed, spool, settings)


def _happened(happened: Sequence[Happened]) -> list[Finding]:
    """One finding for devices to which the same has happened."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in happened:
        if one.event in _CURES:
            groups.setdefault((one.event, one.text.removeprefix(f"{one.name} ")), []).append(one.name)
    findings = []
    for (event, text), names in groups.items():
        who = span([name or "source" for name in names])
        findings.append(fail(f"sensors.{who}", text, *_CURES[event]))
    return findings


def _devices(sensed: Sensed) -> list[Finding]:
    """One finding for devices of one kind that give the same fields."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[DeviceInfo]] = {}
    for info in sensed.devices:
        fields = sensed.fields.get(info.kind + info.device, ())
        groups.setdefault((info.kind, info.name or info.model, fields), []).append(info)
    reported = {happened.name for happened in sensed.happened if happened.event in _CURES}
    findings = []
    for (kind, name, fields), infos in groups.items():
        names = [info.kind + info.device for info in infos]
        if fields:
            findings.append(_fields(span(names), kind, name, fields, infos[0]))
        elif not set(names) <= reported:
            cause = "its driver gives no value at all, or did not answer in time"
            findings.append(fail(f"sensors.{span(names)}", f"{name}: no reading", cause, _LOG))
    return findings


def _fields(names: str, kind: str, name: str, fields: Sequence[str], info: DeviceInfo) -> Finding:
    known = [field.name for field in MEASUREMENTS[kind].fields if field.name not in COMPUTED]
    given = [field for field in known if field in fields]
    lacking = [field for field in known if field not in fields]
    text = f"{name}: {len(given)} of {len(known)} fields: {' '.join(given)}"
    text += f"; not: {' '.join(lacking)}" if lacking else ""
    wanted = [field for field in _WANTED if field not in fields]
    if info.temp_limit_c is None and "temp_limit_c" not in fields:
        wanted.append("temp_limit_c")
    if info.rated_power_w is None and "power_limit_w" not in fields:
        wanted.append("power_limit_w")
    if kind != "gpu" or info.parent or not wanted:  # a part of a GPU has no limits of its own
        return ok(f"sensors.{names}", text)
    cause = (
        f"RLE and collapse need {', '.join(wanted)}, which this model, virtual GPU or driver does not tell"
    )
    cure = (
        "nvidia-smi -q -d POWER,TEMPERATURE,UTILIZATION: if it says N/A as well, only another driver may help"
    )
    return warn(f"sensors.{names}", text, cause, cure)


def _cpu(sensed: Sensed, kernel: KernelLook, person: Person) -> list[Finding]:
    fields = {field for name, given in sensed.fields.items() if name.startswith("cpu") for field in given}
    virtual = "a virtual machine is not shown it"
    refused = [counter for counter in kernel.rapl if not may(person, counter, READ)]
    findings = []
    if refused:
        cause = f"RAPL's counters are for root, and the agent runs as {person.name}: {refused[0].text}"
        cure = (
            f"sudo {PROGRAM} agent install sets a udev rule; by hand until the next boot:"
            f" chgrp {person.name} /sys/class/powercap/intel-rapl:*/energy_uj && chmod g+r the same"
        )
        findings.append(warn("sensors.cpu_power", "CPU power and energy are not measured", cause, cure))
    elif "energy_j" in fields:
        findings.append(ok("sensors.cpu_power", f"RAPL, readable for {person.name}"))
    elif kernel.virtual:
        findings.append(absent("sensors.cpu_power", f"no RAPL: {virtual}"))
    else:
        cause = "the kernel shows no RAPL: its module is not loaded, or this CPU has none"
        cure = "modprobe intel_rapl_msr (AMD as well); ls /sys/class/powercap"
        findings.append(warn("sensors.cpu_power", "CPU power and energy are not measured", cause, cure))
    if "temp_c" in fields:
        return [*findings, ok("sensors.cpu_temp", "hwmon")]
    if kernel.virtual:
        return [*findings, absent("sensors.cpu_temp", f"no temperature sensor: {virtual}")]
    cause = (
        "no coretemp or k10temp in /sys/class/hwmon"
        if not kernel.temperatures
        else "its sensor does not answer"
    )
    cure = "modprobe coretemp (Intel) or modprobe k10temp (AMD)"
    return [*findings, warn("sensors.cpu_temp", "CPU temperature is not measured", cause, cure)]


def _amd(sensed: Sensed, kernel: KernelLook) -> list[Finding]:
    gpus = kernel.of(AMD)
    if not gpus:
        return []
    known = [device.bus for device in sensed.devices if device.bus]
    findings = []
    for gpu in gpus:
        if any(same_bus(gpu.address, bus) for bus in known):
            continue
        cause = "amdgpu shows no sensors of it" if gpu.driver == "amdgpu" else "amdgpu is not bound to it"
        cure = "modprobe amdgpu; then dmesg -T | grep -i amdgpu"
        findings.append(warn("sensors.amd_bus", f"AMD GPU at {gpu.address} is not measured", cause, cure))
    return findings or [ok("sensors.amd_bus", f"all {len(gpus)} AMD GPUs of the PCI bus are measured")]


def _sources(sensed: Sensed) -> list[Finding]:
    """What the other sources say of themselves; NVIDIA's is judged elsewhere."""
    others = [report for report in sensed.reports if report.source != NVML]
    return [(ok if report.found else absent)(f"sensors.{report.source}", report.text) for report in others]


def _pressure(kernel: KernelLook) -> list[Finding]:
    if kernel.pressure:
        return []
    text = (
        "the kernel shows no pressure (PSI): stall fields stay absent; psi=1 on its command line brings them"
    )
    return [absent("sensors.pressure", text)]


def _grid(sensed: Sensed, period_s: float, settings: DoctorSettings) -> list[Finding]:
    text = f"reading all sensors takes {1000 * sensed.sweep_s:.3g} ms of each {period_s:g} s"
    if sensed.sweep_s <= settings.sweep_ratio * period_s:
        return [ok("sensors.sweep", text)]
    cause = "a driver is slow, or the machine is overloaded: devices will be left out of ticks"
    cure = "nvidia-smi -pm 1 keeps the driver loaded; or set agent.period_s to more"
    return [warn("sensors.sweep", text, cause, cure)]


def _agent(sensed: Sensed, spool: SpoolLook, settings: DoctorSettings) -> list[Finding]:
    """What the running agent does not get, though whoever runs the doctor does."""
    if spool.writer is None or spool.newest_age_s is None or spool.newest_age_s > settings.silence_s:
        return []
    check, user = "sensors.agent", spool.writer.person.name
    stats = spool.points.get("agent")
    if stats is None or stats.fields.get("ticks_count", 0) < _WARM_TICKS:
        return [absent(check, "the agent has just started: not every sensor has had its turn")]
    if stats.fields.get("frugal"):
        return [absent(check, "the agent leaves optional sensors out to keep to its budget (agent frugal=1)")]
    lacking = []
    for name, fields in sensed.fields.items():
        got = spool.points[name].fields if name in spool.points else {}
        lacking += [f"{name} {field}" for field in fields if field not in got]
    if not lacking:
        return [ok(check, f"the running agent ({user}) gets every field that is seen here")]
    found = f"the running agent ({user}) does not get {', '.join(lacking[:8])}"
    found += f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
    cause = "its user may not read them, or they came after it had started"
    cure = f"sudo {PROGRAM} agent install sets the rights; then systemctl restart thermogate-agent"
    return [warn(check, found, cause, cure)]
