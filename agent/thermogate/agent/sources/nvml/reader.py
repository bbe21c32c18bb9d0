"""Reads some sensors of one GPU into buffers that are made once."""

import ctypes
from collections.abc import Iterable
from typing import Any

import pynvml

from thermogate.agent.sources.base import Fields
from thermogate.agent.sources.nvml.library import Calls, Handle, function, plain, value_of
from thermogate.agent.sources.nvml.sensors import Choice, FieldSensor, Sensor

_FIELD_VALUES = "nvmlDeviceGetFieldValues"
_FieldValue = plain(pynvml.c_nvmlFieldValue_t)
_UNKNOWN_FIELD = pynvml.NVML_ERROR_INVALID_ARGUMENT
"""What a driver may say about a field that is newer than itself."""


class Reader:
    """Some sensors of one GPU, asked together. One that it does not support is asked once.

    Of each choice the first that the GPU supports is used; another takes over from the next
    reading on. `version` counts such changes.
    """

    def __init__(self, calls: Calls, gpu: Handle, choices: Iterable[Choice]) -> None:
        self.version = 0
        self.unsupported: list[str] = []
        self._calls = calls
        self._gpu = gpu
        self._get_fields = function(_FIELD_VALUES)
        self._choices = [list(choice) for choice in choices]
        self._direct: list[tuple[Sensor, Any, tuple[Any, ...], Any]] = []
        self._fields: list[FieldSensor] = []
        self._values: Any = None
        self._arrange()

    def uses(self, sensor: Sensor | FieldSensor) -> bool:
        """Whether this sensor is the one of its choice."""
        return any(choice and choice[0] is sensor for choice in self._choices)

    def read(self, fields: Fields) -> None:
        """Put in what is measured now. Raises DeviceLostError."""
        dropped: list[Sensor | FieldSensor] = []
        if self._fields:
            self._read_fields(fields, dropped)
        calls = self._calls
        for sensor, call, arguments, buffer in self._direct:
            calls.doing = sensor.call
            code = call(*arguments)
            if code == 0:
                sensor.put(buffer, fields)
            elif calls.fail(code):
                dropped.append(sensor)
        if dropped:
            self._drop(dropped)

    def _read_fields(self, fields: Fields, dropped: list[Sensor | FieldSensor]) -> None:
        """All fields in one call: the driver may answer several of them from one question to the GPU."""
        self._calls.doing = _FIELD_VALUES
        call = self._get_fields
        missing = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
        code = call(self._gpu, len(self._fields), self._values) if call else missing
        if code != 0:
            dropped += self._fields if self._calls.fail(code) else []
            return
        for sensor, value in zip(self._fields, self._values, strict=True):
            code = value.nvmlReturn
            if code == 0:
                number = value_of(value)
                if number is not None:
                    sensor.put(number, fields)
            elif self._calls.fail(code) or code == _UNKNOWN_FIELD:
                dropped.append(sensor)

    def _drop(self, dropped: list[Sensor | FieldSensor]) -> None:
        for choice in self._choices:
            if choice and choice[0] in dropped:
                self._next(choice)
        self._arrange()

    def _next(self, choice: list[Sensor | FieldSensor]) -> None:
        what = choice.pop(0).what
        if not choice and what not in self.unsupported:
            self.unsupported.append(what)

    def _arrange(self) -> None:
        """Make calls and buffers for the sensors that are used."""
        self.version += 1
        self._direct = []
        for choice in self._choices:
            while choice and isinstance(sensor := choice[0], Sensor):
                if (call := function(sensor.function)) is not None:
                    buffer = sensor.buffer()
                    arguments = (self._gpu, *sensor.constants, ctypes.byref(buffer))
                    self._direct.append((sensor, call, arguments, buffer))
                    break
                self._next(choice)
        self._fields = [
            choice[0] for choice in self._choices if choice and isinstance(choice[0], FieldSensor)
        ]
        self._values = (_FieldValue * len(self._fields))()
        for value, field in zip(self._values, self._fields, strict=True):
            value.fieldId = field.field
