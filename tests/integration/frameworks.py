"""Small trainings with Transformers and Lightning on the CPU, on one thread; each gives its losses."""

import time

import lightning
import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = 40


class _Slow(transformers.TrainerCallback):
    """Keeps the losses, and leaves time for a decision."""

    def __init__(self, losses, pause_s):
        self.losses = losses
        self.pause_s = pause_s

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs:
            self.losses.append(logs["loss"])

    def on_step_begin(self, *_, **__):
        time.sleep(self.pause_s)


class _Net(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 1))

    def forward(self, x, labels=None):
        out = self.net(x)
        return {"loss": (out - labels).square().mean(), "logits": out}


def train_transformers(folder, gate, losses=None, resume=False):
    from thermogate.schedulers.trainer.transformers import GateCallback

    torch.set_num_threads(1)
    transformers.set_seed(7)
    x = torch.randn(STEPS * 4, 8, generator=torch.Generator().manual_seed(1))
    rows = [{"x": row, "labels": row.sum(0, keepdim=True)} for row in x]
    losses = [] if losses is None else losses
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_train_epochs=1,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=7,
    )
    callbacks = [_Slow(losses, 0.02 if gate is not None else 0.0)]
    callbacks += [GateCallback(gate)] if gate is not None else []
    trainer = transformers.Trainer(model=_Net(0.1), args=arguments, train_dataset=rows, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume or None)
    return losses


class _Module(lightning.LightningModule):
    def __init__(self, losses, pause_s):
        super().__init__()
        self.net = _Net(0.0)  # Lightning does not restore random generators
        self.losses = losses
        self.pause_s = pause_s

    def training_step(self, batch, _index):
        time.sleep(self.pause_s)
        loss = self.net(*batch)["loss"]
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def train_lightning(folder, gate, losses=None, resume=None):
    from thermogate.schedulers.trainer.lightning import GateCallback

    torch.set_num_threads(1)
    lightning.seed_everything(7, verbose=False)
    # every batch the same: in the middle of an epoch Lightning begins its batches anew
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).repeat(STEPS, 1)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)
    losses = [] if losses is None else losses
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[GateCallback(gate, folder)] if gate is not None else [],
    )
    module = _Module(losses, 0.02 if gate is not None else 0.0)
    trainer.fit(module, loader, ckpt_path=resume)
    return losses
