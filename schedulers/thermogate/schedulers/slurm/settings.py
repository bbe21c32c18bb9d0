"""Settings of what obeys the gate in Slurm."""

from typing import Annotated, Literal

import msgspec

from thermogate.core.config import Settings

OnNode = Literal["leave", "checkpoint", "suspend", "requeue"]
OnJob = Literal["leave", "checkpoint", "suspend", "requeue"]

_NodeName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class SlurmSettings(Settings, frozen=True):
    """What Slurm does about decisions. A node that is held or to be repaired is always drained."""

    client_id: str = "thermogate-slurm"
    """Its name at the broker: one runs for each Slurm, and a second of the same name takes its place."""
    conf: str = ""
    """slurm.conf; empty: where the programs of Slurm look for it themselves."""
    bin_dir: str = ""
    """Folder of scontrol, squeue, sinfo and scancel; empty: those in $PATH."""
    nodes: dict[str, _NodeName] = msgspec.field(default_factory=dict)
    """Slurm's NodeName of nodes that have another name there. The others have the same in both."""
    on_node_hold: OnNode = "leave"
    """What happens to jobs that run on a node that is held. `leave`: they go on, and nothing new starts.
    `checkpoint`: they get the checkpoint signal. `suspend` and `requeue`: the signal, and after
    `checkpoint_s` that. To stop others' work is for whoever runs the cluster to decide."""
    on_node_repair: OnNode = "leave"
    """The same of a node that is to be repaired. What a lost GPU has left alive may still end by itself."""
    on_job_hold: OnJob = "suspend"
    """What happens to a job that is held while it runs: `suspend` keeps its memory and its GPUs, `requeue`
    gives them back and keeps it held in the queue. One that waits in the queue is held there."""
    checkpoint_signal: Annotated[
        str, msgspec.Meta(pattern=r"^$|^(USR[12]|TERM|INT|HUP|URG|WINCH|CONT|[1-9][0-9]?)$")
    ] = ""
    """Sent to a job's batch script before it is stopped, such as USR1. Empty: none. It ends every job
    whose script does not catch it, so set it only where all do."""
    checkpoint_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Time for the checkpoint between the signal and what follows: the gate holds as long before a limit."""
    sign_jobs: bool = True
    """Write into an empty AdminComment of a job what was done to it and why: its user can read it, and
    what was done is known without the journal."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 15.0
    """After this a command is ended and tried again later. Slurm's programs wait MessageTimeout (10 s) for
    a controller that does not answer."""

    def __post_init__(self) -> None:
        asks = (self.on_node_hold, self.on_node_repair, self.on_job_hold)
        if "checkpoint" in asks and not self.checkpoint_signal:
            raise ValueError("checkpoint asks for a signal: set checkpoint_signal, such as USR1")
        if len(set(self.nodes.values())) < len(self.nodes):
            raise ValueError("nodes: two names stand for one NodeName of Slurm")
