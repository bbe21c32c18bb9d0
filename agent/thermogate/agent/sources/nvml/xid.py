"""XID events: what goes wrong on a GPU by the driver's own account, as it happens."""

import ctypes
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pynvml

from thermogate.agent.sources.base import SourceEvent
from thermogate.agent.sources.nvml.library import Handle
from thermogate.agent.sources.nvml.xid_meanings import MEANINGS
from thermogate.agent.sources.watch import Silence

WAIT_S = 3.0
"""How long one wait for an event lasts, and at most until the thread notices that GPUs came or went."""
_GRACE_S = 1.0
"""How much longer than that a call may take before it is said to hang."""
_LAST_EVENTS = 100
"""How many events that are there already are taken when a set is given up."""
_NO_INSTANCE = 0xFFFFFFFF
_Xid = tuple[str, int, int, int]
"""Device, number, GPU instance, compute instance."""


class XidListener:
    """Waits for XIDs in a thread of its own, which may hang and harms nothing by it.

    Only XIDs are registered: an uncorrectable ECC error is one as well (48, 94, 95), and the counts
    of both kinds are sensors. A GPU that does not support events is left out.
    """

    def __init__(self, hung_after_s: float, retry_s: float, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._retry_s = retry_s
        self._silence = Silence("nvml's listener to XIDs", max(hung_after_s, wait_s + _GRACE_S))
        self._silent_since_s: float | None = None
        self._wanted: Mapping[str, Handle] = {}
        self._settled: Mapping[str, Handle] = self._wanted
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._doing = ""
        self._called_s: float | None = None
        self._lock = threading.Lock()
        self._seen: Counter[_Xid] = Counter()

    @property
    def idle(self) -> bool:
        """Whether it waits for no GPU and makes no call: NVML may be shut down."""
        return not self._wanted and self._settled is self._wanted

    def watch(self, gpus: Mapping[str, Handle]) -> None:
        """Listen to these GPUs from now on, by their device numbers; {} to let go of all."""
        if gpus == self._wanted:
            return
        self._wanted = dict(gpus)
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="nvml-xid", daemon=True)
            self._thread.start()

    def events(self) -> list[SourceEvent]:
        """The XIDs since the last time, and whether the listener hangs or is back."""
        with self._lock:
            seen, self._seen = self._seen, Counter()
        return self._health() + [_event(xid, count) for xid, count in seen.items()]

    def stop(self) -> None:
        """Let the thread end; does not wait for it."""
        self._stopped = True
        self._changed.set()

    def _health(self) -> list[SourceEvent]:
        now_s, called_s = time.monotonic(), self._called_s
        events = self._silence.end(now_s) if called_s != self._silent_since_s else []
        self._silent_since_s = called_s
        if called_s is None:
            return events
        self._silence.begin(called_s)
        return events + self._silence.check(now_s, self._doing)

    def _run(self) -> None:
        while not self._stopped:
            wanted = self._wanted
            self._changed.clear()
            if wanted is self._wanted:
                self._listen(wanted)

    def _listen(self, wanted: Mapping[str, Handle]) -> None:
        """Until other GPUs are wanted; after an error, for `retry_s` not."""
        events = None
        pause_s: float | None = None
        try:
            events, devices = self._register(wanted)
            while devices and wanted is self._wanted and not self._stopped:
                self._wait(events, devices, self._wait_s)
            if devices and not self._stopped:
                self._take_last(events, devices)
        except pynvml.NVMLError:
            pause_s = self._retry_s  # mostly a lost GPU, which is then no longer wanted
        self._free(events)
        self._settled = wanted
        if wanted is self._wanted and not self._stopped:
            self._changed.wait(pause_s)

    def _register(self, wanted: Mapping[str, Handle]) -> tuple[Any, dict[Any, str]]:
        """A set of events, and the devices in it by handle."""
        left = dict(wanted)
        while left:
            events = self._call("nvmlEventSetCreate", pynvml.nvmlEventSetCreate)
            refused = [device for device, gpu in left.items() if not self._add(device, gpu, events)]
            if not refused:
                return events, {_address(gpu): device for device, gpu in left.items()}
            self._free(events)  # NVML may leave a set undefined that a GPU could not be added to
            left = {device: gpu for device, gpu in left.items() if device not in refused}
        return None, {}

    def _add(self, device: str, gpu: Handle, events: Any) -> bool:
        xid = pynvml.nvmlEventTypeXidCriticalError
        name = f"nvmlDeviceRegisterEvents(gpu{device})"
        try:
            self._call(name, pynvml.nvmlDeviceRegisterEvents, gpu, xid, events)
        except pynvml.NVMLError:
            return False
        return True

    def _take_last(self, events: Any, devices: Mapping[Any, str]) -> None:
        """A GPU that was lost may have said why."""
        for _ in range(_LAST_EVENTS):
            if not self._wait(events, devices, 0.0):
                return

    def _wait(self, events: Any, devices: Mapping[Any, str], timeout_s: float) -> bool:
        """Wait for one event; whether there was one."""
        try:
            timeout_ms = round(timeout_s * 1000)
            data = self._call("nvmlEventSetWait", pynvml.nvmlEventSetWait_v2, events, timeout_ms)
        except pynvml.NVMLError as err:
            if err.value == pynvml.NVML_ERROR_TIMEOUT:
                return False
            raise
        device = devices.get(_address(data.device), "")
        with self._lock:
            self._seen[device, data.eventData, data.gpuInstanceId, data.computeInstanceId] += 1
        return True

    def _free(self, events: Any) -> None:
        if events is None:
            return
        try:
            self._call("nvmlEventSetFree", pynvml.nvmlEventSetFree, events)
        except pynvml.NVMLError:
            return

    def _call(self, name: str, call: Any, *arguments: Any) -> Any:
        self._doing = name
        self._called_s = time.monotonic()
        try:
            return call(*arguments)
        finally:
            self._called_s = None


def _address(gpu: Handle) -> int | None:
    """Handles of the same GPU are equal in C, but not as objects of ctypes."""
    return ctypes.cast(gpu, ctypes.c_void_p).value


def _event(xid: _Xid, count: int) -> SourceEvent:
    device, number, gpu_instance, compute_instance = xid
    data: dict[str, float | str] = {"xid": number}
    where = f"gpu{device}" if device else "an NVIDIA GPU"
    text = f"{where}: XID {number}"
    if meaning := MEANINGS.get(number):
        data["meaning"] = meaning
        text += f": {meaning}"
    if gpu_instance != _NO_INSTANCE:
        data["gpu_instance"] = gpu_instance
    if compute_instance != _NO_INSTANCE:
        data["compute_instance"] = compute_instance
    if count > 1:
        data["count"] = count
        text += f" ({count} times since the last tick)"
    return SourceEvent("xid", text, "gpu" if device else "", device, data)
