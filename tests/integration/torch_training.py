"""A small training with PyTorch, and as a program one rank of two."""

import sys
import time
from pathlib import Path

import torch
from torch import distributed, nn

from thermogate.schedulers.trainer import Gate
from thermogate.schedulers.trainer.torch_loop import Checkpoint, gated
from thermogate.schedulers.trainer.torch_ranks import Ranks


def train(gate, file, steps, losses=None, resume=False):
    """The losses of every step, of a net with dropout, on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    losses = [] if losses is None else losses
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    inputs = torch.randn(steps, 32, 16)
    checkpoint = None if file is None else Checkpoint(file, model=model, optimizer=optimizer)
    if resume:
        assert checkpoint.restore()
        inputs = inputs[checkpoint.step :]
    for batch in inputs if gate is None else gated(gate, inputs, checkpoint):
        loss = (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if gate is not None:
            time.sleep(0.01)
    return losses


def rank_of_two(broker, folder, port, rank):
    """Trains until it has waited, and prints at which step."""
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    gate = Gate("job/train-7", broker=broker, trust_file=folder / "trusted")
    if rank == 0:
        gate.open()
    ranks = Ranks(gate if rank == 0 else None)
    print("trains", flush=True)
    for step in range(100_000):
        tensor = torch.ones(1)
        distributed.all_reduce(tensor)
        if ranks.wait_if_held(lambda: (folder / f"rank{rank}.pt").touch()):
            print(f"waited at {step}", flush=True)
            break
        time.sleep(0.005)
    distributed.destroy_process_group()
    gate.close()


if __name__ == "__main__":
    rank_of_two(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
