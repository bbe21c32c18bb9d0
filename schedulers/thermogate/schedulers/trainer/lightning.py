"""Lightning: a `Callback` that saves before a hold, waits, paces, and reports."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from thermogate.schedulers.trainer.gate import Gate
from thermogate.schedulers.trainer.torch_ranks import Ranks

FILE = "thermogate-hold.ckpt"


class GateCallback(Callback):  # type: ignore[misc]
    """`Trainer(callbacks=[GateCallback(gate)])`. Before a hold the whole trainer is saved in `folder` (the
    trainer's root, if not given) as thermogate-hold.ckpt; `fit(..., ckpt_path=...)` takes it up. The gate is
    opened at the start if it is not yet.
    """

    def __init__(self, gate: Gate, folder: str | Path | None = None) -> None:
        self._gate = gate
        self._folder = folder
        self._ranks = Ranks(gate)
        self._opened = False
        self._grad_norm: float | None = None
        self._counted = (0, time.monotonic())

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Held from the start: wait, there is nothing to save yet."""
        if trainer.is_global_zero and not self._gate.opened:
            self._gate.open()
            self._opened = True
        self._ranks.wait_if_held()
        self._counted = (trainer.global_step, time.monotonic())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """The norm of the gradients, when it is about to be reported."""
        if self._gate.report_due:
            gradients = [one.grad for one in pl_module.parameters() if one.grad is not None]
            if all(
                type(one) is torch.Tensor for one in gradients
            ):  # of one spread over ranks, all would have to ask
                self._grad_norm = float(torch.nn.utils.get_total_norm(gradients))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report, keep the pace, and if held save and wait."""
        if self._gate.report_due:
            self._report(trainer, outputs)
        self._ranks.keep_pace()
        self._ranks.wait_if_held(lambda: trainer.save_checkpoint(self._file(trainer)))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the gate if it was opened here."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Likewise."""
        self._close()

    def _close(self) -> None:
        if self._opened:
            self._gate.close()
            self._opened = False

    def _file(self, trainer: Any) -> Path:
        return Path(self._folder or trainer.default_root_dir) / FILE

    def _report(self, trainer: Any, outputs: Any) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        step, since_s = self._counted
        now_s = time.monotonic()
        self._counted = (trainer.global_step, now_s)
        self._gate.report(
            step=trainer.global_step,
            loss=float(loss) if isinstance(loss, torch.Tensor) else None,
            grad_norm=self._grad_norm,
            steps_per_s=(trainer.global_step - step) / max(now_s - since_s, 1e-9),
        )
        self._grad_norm = None
