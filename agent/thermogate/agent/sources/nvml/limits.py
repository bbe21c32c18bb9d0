"""The temperatures at which a GPU slows down and shuts down, which its model has or has not."""

from collections.abc import Callable, Mapping

import pynvml

from thermogate.agent.sources.nvml.library import Calls, Handle, value_of

Ways = Mapping[str, Callable[[Handle], float]]
"""Ways to ask for the same thing, best first, by their names for people."""


def first(calls: Calls, gpu: Handle, ways: Ways) -> float | None:
    """The answer, in degrees C, of the first of `ways` that the GPU supports; None without one now.

    Raises DeviceLostError.
    """
    for name, call in ways.items():
        answer = calls.ask(name, call, gpu)
        if answer is not None or name not in calls.left_alone:
            return answer
    return None


def _threshold(gpu: Handle, which: int) -> float:
    limit_c = pynvml.nvmlDeviceGetTemperatureThreshold(gpu, which)
    if not limit_c:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)  # some boards say 0 degrees for "none"
    return float(limit_c)


def _from_margin(gpu: Handle, field: int) -> float:
    """Ada and later: temperature + margin is where the margin is 0, the limits a few degrees beside it."""
    temp_c = pynvml.nvmlDeviceGetTemperatureV(gpu, pynvml.NVML_TEMPERATURE_GPU)
    margin_c = pynvml.nvmlDeviceGetMarginTemperature(gpu)
    answer = pynvml.nvmlDeviceGetFieldValues(gpu, [field])[0]
    if answer.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(answer.nvmlReturn)
    offset_c = value_of(answer)
    if offset_c is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return float(temp_c + margin_c - offset_c)


SLOWDOWN: Ways = {
    "nvmlDeviceGetTemperatureThreshold(SLOWDOWN)": lambda gpu: _threshold(
        gpu, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
    ),
    "nvmlDeviceGetMarginTemperature": lambda gpu: _from_margin(
        gpu, pynvml.NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT
    ),
    "nvmlDeviceGetTemperatureThreshold(GPU_MAX)": lambda gpu: _threshold(
        gpu, pynvml.NVML_TEMPERATURE_THRESHOLD_GPU_MAX
    ),
}

SHUTDOWN: Ways = {
    "nvmlDeviceGetTemperatureThreshold(SHUTDOWN)": lambda gpu: _threshold(
        gpu, pynvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN
    ),
    "nvmlDeviceGetFieldValues(SHUTDOWN_TLIMIT)": lambda gpu: _from_margin(
        gpu, pynvml.NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT
    ),
}
