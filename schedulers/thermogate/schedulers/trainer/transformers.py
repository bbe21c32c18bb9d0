"""Hugging Face: a `TrainerCallback` that saves before a hold, waits, paces, and reports what is logged."""

import time
from typing import Any

from transformers import TrainerCallback

from thermogate.schedulers.trainer.gate import Gate
from thermogate.schedulers.trainer.torch_ranks import Ranks

_REPORTED = ("loss", "grad_norm", "learning_rate")


class GateCallback(TrainerCallback):  # type: ignore[misc]
    """`Trainer(..., callbacks=[GateCallback(gate)])`. The checkpoint is the trainer's own, in `output_dir`;
    `train(resume_from_checkpoint=True)` takes it up. The gate is opened at the start if it is not yet.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._ranks = Ranks(gate)
        self._opened = False
        self._to_wait = False
        self._counted = (0, time.monotonic())

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Held from the start: wait, there is nothing to save yet."""
        if state.is_world_process_zero and not self._gate.opened:
            self._gate.open()
            self._opened = True
        self._ranks.wait_if_held()
        self._counted = (state.global_step, time.monotonic())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep the pace; if held, have the trainer save."""
        self._ranks.keep_pace()
        if self._ranks.held():
            control.should_save = True
            self._to_wait = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The checkpoint is written: wait."""
        if self._to_wait:
            self._to_wait = False
            self._ranks.wait_if_held()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Report loss, gradient norm and throughput."""
        if not state.is_world_process_zero or not logs:
            return
        told = {name: logs[name] for name in _REPORTED if isinstance(logs.get(name), int | float)}
        self._gate.report(step=state.global_step, throughput_per_s=self._throughput(args, state), **told)

    def _throughput(self, args: Any, state: Any) -> float:
        """Samples a second over all ranks since the last time."""
        step, since_s = self._counted
        self._counted = (state.global_step, time.monotonic())
        samples = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return float((state.global_step - step) * samples / max(time.monotonic() - since_s, 1e-9))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the gate if it was opened here."""
        if self._opened:
            self._gate.close()
            self._opened = False
