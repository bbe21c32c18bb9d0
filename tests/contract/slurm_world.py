"""Slurm in the contract suite."""

from tests.fake_slurm import FakeJob, FakeNode, FakeSlurm
from thermogate.schedulers.slurm.adapter import SlurmAdapter
from thermogate.schedulers.slurm.settings import SlurmSettings


class _SlurmWorld:
    signs = True

    def __init__(self, clock, folder):
        self.slurm = FakeSlurm()
        self.slurm.jobs[7] = FakeJob(7)
        self.adapter = SlurmAdapter(SlurmSettings(), self.slurm, clock)

    def break_down(self, broken):
        self.slurm.broken = broken

    @property
    def write_count(self):
        return len(self.slurm.given)


class SlurmNodeWorld(_SlurmWorld):
    """Nodes of Slurm in the contract suite."""

    target = ("node", "gpu0")
    unknown = ("node", "gpu9")

    def held(self):
        return "DRAIN" in self.slurm.nodes["gpu0"].states

    def hold_by_hand(self):
        self.slurm.nodes["gpu0"] = FakeNode({"IDLE", "DRAIN"}, "new fan, anna")

    def release_by_hand(self):
        self.slurm.nodes["gpu0"] = FakeNode({"IDLE"})


class SlurmJobWorld(_SlurmWorld):
    """Jobs of Slurm in the contract suite: one that runs, and is suspended."""

    target = ("job", "slurm-7")
    unknown = ("job", "slurm-8")

    def held(self):
        return self.slurm.jobs[7].state == "SUSPENDED"

    def hold_by_hand(self):
        self.slurm.jobs[7].state = "SUSPENDED"

    def release_by_hand(self):
        self.slurm.jobs[7].state = "RUNNING"
