"""PyTorch: a loop that obeys the gate, and a checkpoint from which it goes on bit for bit."""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")


class Obeyed(Protocol):
    """A `Gate`, or `Ranks` around one."""

    @property
    def pace(self) -> float: ...
    def wait_if_held(self, checkpoint: Any = None) -> float: ...
    def keep_pace(self) -> float: ...


class Stateful(Protocol):
    """A module, an optimizer, a learning rate scheduler, a sampler, ..."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


class Checkpoint:
    """What a training needs to go on, in one file: the parts by name, the random generators, and `step`.

    Increase `step` yourself. The file is old or new, never half.
    """

    def __init__(self, file: str | Path, **parts: Stateful) -> None:
        self._file = Path(file)
        self._parts = parts
        self.step = 0

    def save(self) -> Path:
        """Write it; its path. Raises OSError."""
        state = {
            "step": self.step,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=self._file.parent, prefix=f".{self._file.name}.")
        with os.fdopen(fd, "wb") as out:
            torch.save(state, out)
            out.flush()
            os.fsync(fd)
        return Path(name).replace(self._file)

    def restore(self) -> bool:
        """Go on from the file; False when there is none."""
        if not self._file.exists():
            return False
        # only tensors and plain values: a checkpoint is no program
        state = torch.load(self._file, map_location="cpu", weights_only=True)
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        torch.set_rng_state(state["cpu"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])
        self.step = int(state["step"])
        return True


def gated(gate: Obeyed, batches: Iterable[T], checkpoint: Checkpoint | None = None) -> Iterator[T]:
    """`for batch in gated(gate, loader, checkpoint):`, waiting before a batch while held, after a checkpoint,
    and sleeping after one as the pace asks.

    With a pace below 1 it waits for the GPU before it sleeps, else only the queue would be shorter.
    """
    save = None if checkpoint is None else checkpoint.save
    gate.wait_if_held(save)
    for batch in batches:
        yield batch
        if checkpoint is not None:
            checkpoint.step += 1
        if gate.pace < 1.0 and torch.cuda.is_available():
            torch.cuda.synchronize()
        gate.keep_pace()
        gate.wait_if_held(save)


class Throughput:
    """Items a second since the last time that it was asked."""

    def __init__(self) -> None:
        self._count = 0
        self._since_s = time.monotonic()

    def add(self, count: int) -> None:
        """So many more are done."""
        self._count += count

    def per_s(self) -> float:
        """Begins anew."""
        now_s = time.monotonic()
        rate = self._count / max(now_s - self._since_s, 1e-9)
        self._count, self._since_s = 0, now_s
        return rate
