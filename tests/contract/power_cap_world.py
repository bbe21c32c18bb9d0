"""Power caps as a world of the contract: four GPUs of the stub driver behind the real pynvml."""

import contextlib
from pathlib import Path

from tests.fakes import FakeClock
from tests.nvml_stub.loaded import loaded
from thermogate.schedulers.power_caps.adapter import PowerCaps
from thermogate.schedulers.power_caps.gpus import Gpus
from thermogate.schedulers.standing import Target

SET = "nvmlDeviceSetPowerManagementLimit"
GET = "nvmlDeviceGetPowerManagementLimit"
UNKNOWN_ERROR = 999


class PowerCapWorld:
    """`hold_pace` is what a HOLD has here, as without a pace there is nothing to do."""

    target: Target = ("node", "n17")
    unknown: Target = ("node", "n99")
    signs = False
    hold_pace = 0.7

    def __init__(self, clock: FakeClock, folder: Path) -> None:
        self._exit = contextlib.ExitStack()
        self.driver = self._exit.enter_context(loaded(folder))
        gpus = Gpus(5.0, folder)
        self._exit.callback(gpus.close)
        self.adapter = PowerCaps(gpus, "n17", boot="b1")

    def close(self):
        self._exit.close()

    def held(self):
        return all(self.driver.power_limit_w(gpu) < 700 for gpu in range(4))

    def hold_by_hand(self):
        for gpu in range(4):
            self.driver.set_power_limit(gpu, 400)

    def release_by_hand(self):
        for gpu in range(4):
            self.driver.set_power_limit(gpu, 700)

    def break_down(self, broken):
        self.driver.error(GET, UNKNOWN_ERROR if broken else 0)

    @property
    def write_count(self):
        return sum(self.driver.calls(SET, gpu) for gpu in range(4))
