"""Judgement of the NVIDIA driver: is it there, may the agent use it, does it list every GPU?"""

from collections.abc import Sequence

from thermogate.cli.checks.finding import Finding, absent, fail, ok, plural, span
from thermogate.cli.checks.gpus import AMD, NVIDIA, KernelLook, PciGpu, missing, same_bus
from thermogate.cli.checks.people import READ, WRITE, Access, Person, may
from thermogate.cli.checks.sensing import Sensed
from thermogate.core.model import DeviceInfo, SourceReport

SOURCE = "nvml"
_PASSED_THROUGH = "vfio-pci"
_KERNEL_LOG = "dmesg -T | grep -iE 'nvrm|xid'"
_REBOOT = "drain the node and reboot it: no signal ends a call that hangs in the kernel"
_RELOAD = (
    "reboot, or with no process on a GPU:"
    " modprobe -r nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia"
)


def judge(sensed: Sensed, kernel: KernelLook, person: Person) -> list[Finding]:
    """`person` is who the agent runs as, or would."""
    report = sensed.report(SOURCE)
    bus = [gpu for gpu in kernel.of(NVIDIA) if gpu.driver != _PASSED_THROUGH]
    if report is None:
        return []
    if not report.found:
        return [_no_driver(report, bus, kernel, person)]
    findings = [ok("nvidia.driver", report.text), _permission(kernel, person)]
    return findings + _listed(bus, _nvidia_devices(sensed.devices, kernel))


def _no_driver(report: SourceReport, bus: Sequence[PciGpu], kernel: KernelLook, person: Person) -> Finding:
    check = "nvidia.driver"
    if kernel.of(NVIDIA) and not bus:
        return absent(check, "its GPUs are passed through to virtual machines (vfio-pci)")
    if not bus and not kernel.nvidia_module and not _hangs(report):
        return absent(check, f"no NVIDIA GPU on the PCI bus ({report.text})")
    return fail(check, report.text, *_why(report, bus, kernel, person))


def _why(report: SourceReport, bus: Sequence[PciGpu], kernel: KernelLook, person: Person) -> tuple[str, str]:
    """Cause and cure of a driver that does not start, from what the kernel shows, the surest first."""
    if _hangs(report):
        cause = "a call into the driver (nvmlInit) does not return: the driver hangs"
        return cause, f"{_KERNEL_LOG}; {_REBOOT}"
    others = sorted({gpu.driver for gpu in bus} - {"", "nvidia"})
    if others and not kernel.nvidia_module:
        held = plural(len(bus), "NVIDIA GPU")
        cause = f"{', '.join(others)} holds the {held} on the PCI bus, so NVIDIA's driver cannot"
        cure = (
            f"echo blacklist {others[0]} > /etc/modprobe.d/{others[0]}.conf;"
            " update-initramfs -u (or dracut -f); reboot"
        )
        return cause, cure
    if not kernel.nvidia_module:
        cause = f"the kernel module nvidia is not loaded; the PCI bus has {plural(len(bus), 'NVIDIA GPU')}"
        return cause, f"modprobe nvidia; if that fails, install the driver, or see {_KERNEL_LOG}; dkms status"
    if not any(node.path.endswith("nvidiactl") for node in kernel.nodes):
        cause = f"the kernel module {kernel.nvidia_module} is loaded, but /dev/nvidiactl is not there"
        return cause, "nvidia-modprobe -c 0 -u; in a container: start it with the GPUs (--gpus all)"
    refused = _refused(kernel, person)
    if refused:
        return f"{person.name} may not use {refused[0].text}", _let_in(refused[0], person)
    if "kernel module is still loaded" in report.text:
        return "library and kernel module are of different versions, as after an update", _RELOAD
    return report.text, f"{_KERNEL_LOG}; {_RELOAD}"


def _hangs(report: SourceReport) -> bool:
    return "did not start" in report.text or "does not open" in report.text


def _permission(kernel: KernelLook, person: Person) -> Finding:
    check = "nvidia.permission"
    refused = _refused(kernel, person)
    if refused:
        cause = f"the agent's user {person.name} may not use them"
        found = "; ".join(node.text for node in refused)
        return fail(check, found, cause, _let_in(refused[0], person))
    if not kernel.nodes:
        return absent(check, "no /dev/nvidia* to look at")
    return ok(check, f"{person.name} may use {len(kernel.nodes)} device files, /dev/nvidia*")


def _refused(kernel: KernelLook, person: Person) -> list[Access]:
    return [node for node in kernel.nodes if not may(person, node, READ | WRITE)]


def _let_in(node: Access, person: Person) -> str:
    if node.mode & 0o060 == 0o060:
        return f"usermod -aG {node.group} {person.name}; then systemctl restart thermogate-agent"
    return (
        "echo options nvidia NVreg_DeviceFileMode=0666 > /etc/modprobe.d/nvidia-mode.conf for the next boot;"
        " until then chmod 0666 /dev/nvidia*"
    )


def _nvidia_devices(devices: Sequence[DeviceInfo], kernel: KernelLook) -> list[DeviceInfo]:
    """GPUs that are no part of another and do not sit where an AMD one does."""
    amd = [gpu.address for gpu in kernel.of(AMD)]
    gpus = [device for device in devices if device.kind == "gpu" and not device.parent]
    return [gpu for gpu in gpus if not any(gpu.bus and same_bus(gpu.bus, address) for address in amd)]


def _listed(bus: Sequence[PciGpu], devices: Sequence[DeviceInfo]) -> list[Finding]:
    check = "nvidia.gpus"
    if not bus:
        return [absent(check, "the PCI bus shows none to compare with")]
    lost = missing(bus, [device.bus for device in devices], len(devices))
    if not lost:
        return [ok(check, f"{span([f'gpu{d.device}' for d in devices])}: all that the PCI bus shows")]
    found = f"{len(lost)} of {len(bus)} GPUs of the PCI bus are not listed by the driver"
    return [fail(check, f"{found}: {gpu.address}", *_why_lost(gpu)) for gpu in lost]


def _why_lost(gpu: PciGpu) -> tuple[str, str]:
    log = f"dmesg -T | grep -iE 'xid|{gpu.address}'"
    if not gpu.answers:
        cause = "it has fallen off the bus: no answer on PCI at all"
        return cause, f"{log}; drain the node, then power it off and on; if it comes again, replace the GPU"
    if not gpu.driver:
        cause = "no driver is bound to it"
        return cause, f"echo {gpu.address} > /sys/bus/pci/drivers/nvidia/bind; if that fails: {log}"
    if gpu.driver != "nvidia":
        cure = f"unbind it: echo {gpu.address} > /sys/bus/pci/drivers/{gpu.driver}/unbind"
        return f"{gpu.driver} holds it", cure
    cause = "the driver is bound to it but cannot use it: it failed to start, or fell off the bus"
    return cause, f"{log}; drain the node and reboot it; if it comes again, power-cycle or replace the GPU"
