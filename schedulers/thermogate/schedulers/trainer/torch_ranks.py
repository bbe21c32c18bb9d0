"""Several ranks, one word: rank 0 asks the gate, all obey at the same step.

Without this one rank would stop a step before another, and both would wait in a collective for ever.
"""

import time
from collections.abc import Callable

import torch
from torch import distributed

from thermogate.schedulers.trainer.gate import Gate
from thermogate.schedulers.trainer.pacing import Pacer

_TELL_S = 5.0
"""How often rank 0 tells the others that they still wait: collectives time out after minutes."""


class Ranks:
    """Like a `Gate`, in every rank; only rank 0's is asked, the others' may be closed, or None.

    Every rank calls `wait_if_held` at the same steps: one broadcast of two numbers on `group`. Without
    torch.distributed it is the gate alone. `pace` is that of the last call.
    """

    def __init__(self, gate: Gate | None, group: "distributed.ProcessGroup | None" = None) -> None:
        self._gate = gate
        self._group = group
        self._pacer = Pacer()
        self._pace = 1.0

    @property
    def pace(self) -> float:
        """As rank 0 has told last."""
        return self._pace

    def held(self) -> bool:
        """Whether all are to wait now. A collective: every rank asks at the same step."""
        told = [0.0, 1.0]
        if (asked := self._asked()) is not None:
            told = [float(asked.held), asked.pace]
        if _distributed():
            tensor = torch.tensor(told, dtype=torch.float64, device=self._device())
            distributed.broadcast(tensor, 0, group=self._group)
            told = tensor.tolist()
        self._pace = told[1]
        return bool(told[0])

    def wait_if_held(self, checkpoint: Callable[[], object] | None = None) -> float:
        """As `Gate.wait_if_held`; every rank checkpoints, and all go on together."""
        if not self.held():
            return 0.0
        began_s = time.monotonic()
        if checkpoint is not None:
            checkpoint()
        asked = self._asked()
        if asked is not None:
            asked.say_held(saved=checkpoint is not None)
        while self.held():
            if asked is not None:
                asked.wait_change(_TELL_S)
        waited_s = time.monotonic() - began_s
        if asked is not None:
            asked.say_released(waited_s)
        self._pacer.begin(time.monotonic())
        return waited_s

    def keep_pace(self) -> float:
        """As `Gate.keep_pace`."""
        began_s = time.monotonic()
        rest_s = self._pacer.rest_s(self._pace, began_s)
        if rest_s > 0.0:
            time.sleep(rest_s)
            now_s = time.monotonic()
            self._pacer.slept(now_s - began_s, now_s)
        return rest_s

    def _asked(self) -> Gate | None:
        """The gate, in rank 0."""
        return self._gate if not _distributed() or distributed.get_rank() == 0 else None

    def _device(self) -> str:
        return "cuda" if distributed.get_backend(self._group) == "nccl" else "cpu"


def _distributed() -> bool:
    return bool(distributed.is_available() and distributed.is_initialized())
