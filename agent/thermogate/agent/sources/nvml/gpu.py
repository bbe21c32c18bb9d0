"""One NVIDIA GPU: found by its UUID, described, and read."""

from collections.abc import Callable
from typing import Literal

import msgspec
import pynvml

from thermogate.agent.sources.base import Fields, Reading
from thermogate.agent.sources.nvml import limits, sensors
from thermogate.agent.sources.nvml.library import Calls, Handle, to_model
from thermogate.agent.sources.nvml.mig import MigInstances
from thermogate.agent.sources.nvml.pace import Pace
from thermogate.agent.sources.nvml.processes import pids
from thermogate.agent.sources.nvml.reader import Reader
from thermogate.agent.sources.nvml.settings import NvidiaSettings
from thermogate.agent.sources.watch import DeviceLostError
from thermogate.core.clock import Clock
from thermogate.core.errors import SourceError
from thermogate.core.model import DeviceInfo

_NOT_LISTED = frozenset({pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND})
_INSTANT_UP_TO = (8, 0)
"""Compute capability up to which nvmlDeviceGetPowerUsage is of the instant, GA100's; later ones give
the mean of 1 s."""

Claim = Callable[[str, str], str]
"""Gives a UUID to a device number unless it has one already; the number that it has then."""


class GpuProbe:
    """One GPU, with its MIG instances.

    The first time it is looked up by NVML's index, from then on by its UUID: after GPUs have been
    plugged in or out, the index may be another one's. After it was lost it is looked up again, at
    `retry_s`, and described anew.
    """

    def __init__(self, device: str, index: int, settings: NvidiaSettings, clock: Clock, claim: Claim) -> None:
        self.info = DeviceInfo(kind="gpu", device=device, model="unknown")
        self.index = index
        self.frugal = False
        self.handle: Handle = None
        """What NVML calls the GPU; None until it is found, and while it is lost."""
        self._claim = claim
        self._calls = Calls()
        self._not_found = SourceError("not looked up yet")
        self._described_version = 0
        self._retry = Pace(clock, settings.retry_s)
        self._slow_pace = Pace(clock, settings.slow_interval_s)
        self._pids_pace = Pace(clock, settings.processes_interval_s)

    @property
    def doing(self) -> str:
        """The call under way, or the last one."""
        return self._calls.doing

    @property
    def parts(self) -> tuple[DeviceInfo, ...]:
        """Its MIG instances."""
        return self._mig.infos if self.handle is not None else ()

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The sensors that this model or driver does not have, by their names for people."""
        if self.handle is None:
            return ()
        readers = (self._always, self._optional, self._slow)
        return tuple(dict.fromkeys(what for reader in readers for what in reader.unsupported))

    def renew(self) -> None:
        """Let the next reading have everything, what is read less often too."""
        self._slow_pace.again()
        self._pids_pace.again()

    def forget(self) -> None:
        """NVML was started again: handles of before mean nothing."""
        self.handle = None
        self._retry.again()

    @property
    def blank(self) -> bool:
        """Whether it has not told its UUID yet."""
        return not self.info.uuid

    def read(self) -> list[Reading]:
        """Every sensor that this GPU has and that is due, and its MIG instances.

        Raises DeviceLostError when the driver says that it is lost, SourceError when no call works.
        """
        try:
            if self.handle is None:
                self._look_up()
            readings = self._read()
        except DeviceLostError:
            self.handle = None
            raise
        self._retry.again()  # not before: a GPU may be found and yet lost
        return readings

    def _read(self) -> list[Reading]:
        fields: Fields = {}
        slow = self._slow_pace.due()
        with_pids = self._pids_pace.due()
        if not self.frugal and self._mig.look(due=slow):
            self._arrange(self.handle)  # in MIG mode other calls are supported than without
        self._always.read(fields)
        if not self.frugal:
            self._optional.read(fields)
            if slow:
                self._slow.read(fields)
        if not fields:
            raise SourceError(self._calls.error)
        if slow or self._always.version != self._described_version:
            self._describe_limits()
        if self.info.temp_limit_c is not None:
            fields["temp_limit_c"] = self.info.temp_limit_c
        found = pids(self._calls, self.handle) if with_pids else None
        readings = [Reading("gpu", self.info.device, fields, found)]
        if not self.frugal:
            readings += self._mig.read(with_pids=with_pids)
        return readings

    def _look_up(self) -> None:
        if not self._retry.due():
            raise self._not_found
        self._calls.left_alone.clear()
        try:
            handle = self._by_uuid(self.info.uuid) if self.info.uuid else self._by_index()
            self.info = self._described(handle)
            self._mig = MigInstances(self._calls, handle, self.info.device)
            self._arrange(handle)
        except SourceError as err:
            self._not_found = err
            raise
        self.handle = handle
        self.renew()

    def _by_uuid(self, uuid: str) -> Handle:
        self._calls.doing = "nvmlDeviceGetHandleByUUID"
        return self._looked_up(pynvml.nvmlDeviceGetHandleByUUID, uuid)

    def _by_index(self) -> Handle:
        self._calls.doing = "nvmlDeviceGetHandleByIndex"
        handle = self._looked_up(pynvml.nvmlDeviceGetHandleByIndex, self.index)
        uuid = self._calls.ask("nvmlDeviceGetUUID", pynvml.nvmlDeviceGetUUID, handle)
        if uuid and (owner := self._claim(uuid, self.info.device)) != self.info.device:
            self._calls.error = f"NVML's GPU {self.index} is gpu{owner}"
            raise DeviceLostError(self._calls.error)
        self.info = msgspec.structs.replace(self.info, uuid=uuid or "")
        return handle

    def _looked_up(self, look_up: Callable[..., Handle], key: str | int) -> Handle:
        try:
            return look_up(key)
        except pynvml.NVMLError as err:
            self._calls.fail(err.value)
            if err.value in _NOT_LISTED:
                self._calls.error = f"{self._calls.doing}: NVML lists no such GPU"
                raise DeviceLostError(self._calls.error) from err
            raise SourceError(self._calls.error) from err

    def _described(self, handle: Handle) -> DeviceInfo:
        ask = self._calls.ask
        name = ask("nvmlDeviceGetName", pynvml.nvmlDeviceGetName, handle) or ""
        bus = ask("nvmlDeviceGetPciInfo", pynvml.nvmlDeviceGetPciInfo, handle)
        # The default, not what is enforced: a power cap at the start must not pass for full power.
        call = "nvmlDeviceGetPowerManagementDefaultLimit"
        limit_mw = ask(call, getattr(pynvml, call), handle)
        if limit_mw is None:
            limit_mw = ask("nvmlDeviceGetEnforcedPowerLimit", pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        return DeviceInfo(
            kind="gpu",
            device=self.info.device,
            model=to_model(name),
            name=name,
            uuid=self.info.uuid,
            rated_power_w=limit_mw / 1000 if limit_mw is not None else None,
            bus=bus.busId if bus is not None else "",
        )

    def _arrange(self, handle: Handle) -> None:
        """Ask again what this GPU supports."""
        calls = self._calls
        call = "nvmlDeviceGetSupportedClocksEventReasons"
        told = calls.ask(call, getattr(pynvml, call), handle)
        reasons = told or pynvml.nvmlClocksEventReasonAll
        self._always = Reader(calls, handle, (*sensors.ALWAYS, sensors.clock_events(reasons)))
        self._optional = Reader(calls, handle, sensors.OPTIONAL)
        self._slow = Reader(calls, handle, sensors.SLOW)
        self._capability = calls.ask(
            "nvmlDeviceGetCudaComputeCapability", pynvml.nvmlDeviceGetCudaComputeCapability, handle
        )

    def _describe_limits(self) -> None:
        """Describe what is not known yet; a call that fails for now is tried again."""
        self._described_version = self._always.version
        info = self.info
        kind = self._power_kind()
        limit_c, shutdown_c = info.temp_limit_c, info.temp_shutdown_c
        if limit_c is None:
            limit_c = limits.first(self._calls, self.handle, limits.SLOWDOWN)
        if shutdown_c is None:
            shutdown_c = limits.first(self._calls, self.handle, limits.SHUTDOWN)
        known = (limit_c, shutdown_c, kind)
        if known != (info.temp_limit_c, info.temp_shutdown_c, info.power_kind):
            self.info = msgspec.structs.replace(
                info, temp_limit_c=limit_c, temp_shutdown_c=shutdown_c, power_kind=kind
            )

    def _power_kind(self) -> Literal["", "instant", "average"]:
        if self._always.uses(sensors.POWER_INSTANT):
            return "instant"
        if "power" in self._always.unsupported or self._capability is None:
            return ""
        return "instant" if tuple(self._capability) <= _INSTANT_UP_TO else "average"
