"""MIG: the instances that a GPU is divided into, as devices of their own."""

import ctypes
from typing import Any

import msgspec
import pynvml

from thermogate.agent.sources.base import Fields, Reading
from thermogate.agent.sources.nvml.library import Calls, Handle, function, to_model
from thermogate.agent.sources.nvml.processes import pids
from thermogate.agent.sources.nvml.sensors import Memory, put_memory
from thermogate.core.model import DeviceInfo

_LABEL = "(MIG)"
_MODE = "nvmlDeviceGetMigMode"
_MEMORY = "nvmlDeviceGetMemoryInfo"


class _Instance(msgspec.Struct, frozen=True):
    info: DeviceInfo
    handle: Handle
    memory: Any


class MigInstances:
    """The MIG instances of one GPU: "0.1" is the one that NVML lists under index 1 on gpu0.

    NVML gives an index to another instance when the first is destroyed; their UUIDs differ.
    Instances have memory and processes of their own, but no power, temperature or utilization.
    """

    def __init__(self, calls: Calls, gpu: Handle, parent: str) -> None:
        self.enabled = False
        self._calls = calls
        self._gpu = gpu
        self._parent = parent
        self._instances: list[_Instance] = []
        self._stale = False

    @property
    def infos(self) -> tuple[DeviceInfo, ...]:
        """The instances, as they were when last looked at."""
        return tuple(instance.info for instance in self._instances)

    def look(self, *, due: bool) -> bool:
        """See which instances there are, if due or one has vanished; whether the mode has changed."""
        if not due and not self._stale:
            return False
        self._stale = False
        mode = self._calls.ask(_MODE, pynvml.nvmlDeviceGetMigMode, self._gpu)
        if mode is None and _MODE not in self._calls.left_alone:
            return False
        before, self.enabled = self.enabled, bool(mode and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
        found = [self._find(index) for index in range(self._most())]
        self._instances = [instance for instance in found if instance is not None]
        return before != self.enabled

    def read(self, *, with_pids: bool) -> list[Reading]:
        """Memory and, if asked, processes of each instance."""
        readings: list[Reading] = []
        for instance in self._instances:
            fields = self._memory(instance)
            if fields:
                found = pids(self._calls, instance.handle, _LABEL) if with_pids else None
                readings.append(Reading("gpu", instance.info.device, fields, found))
        return readings

    def _most(self) -> int:
        if not self.enabled:
            return 0
        most = pynvml.nvmlDeviceGetMaxMigDeviceCount
        return self._calls.ask("nvmlDeviceGetMaxMigDeviceCount", most, self._gpu) or 0

    def _find(self, index: int) -> _Instance | None:
        ask = self._calls.ask
        look_up = pynvml.nvmlDeviceGetMigDeviceHandleByIndex
        handle = ask("nvmlDeviceGetMigDeviceHandleByIndex", look_up, self._gpu, index)
        if handle is None:
            return None
        name = ask(f"nvmlDeviceGetName{_LABEL}", pynvml.nvmlDeviceGetName, handle) or ""
        info = DeviceInfo(
            kind="gpu",
            device=f"{self._parent}.{index}",
            model=to_model(name),
            name=name,
            uuid=ask(f"nvmlDeviceGetUUID{_LABEL}", pynvml.nvmlDeviceGetUUID, handle) or "",
            parent=self._parent,
        )
        return _Instance(info, handle, Memory())

    def _memory(self, instance: _Instance) -> Fields:
        fields: Fields = {}
        call, name = function(_MEMORY), _MEMORY + _LABEL
        if call is None or name in self._calls.left_alone:
            return fields
        self._calls.doing = name
        code = call(instance.handle, ctypes.byref(instance.memory))
        if code == 0:
            put_memory(instance.memory, fields)
        elif self._calls.fail(code):
            self._calls.left_alone.add(name)
        else:
            self._stale = True
        return fields
