"""Commands of Slurm as argument vectors, never a line for a shell. Pure."""

import shlex
from collections.abc import Mapping

import msgspec

from thermogate.schedulers.adapter import Step


class Command(msgspec.Struct, frozen=True):
    """A program of Slurm and its arguments. `so_already` is what it says where nothing is left to be done.

    `comments` is a job whose AdminComment it writes: only while that is empty or ours.
    """

    argv: tuple[str, ...]
    so_already: str = ""
    comments: str = ""

    def step(self, *, sets: Mapping[str, str] = {}, clears: tuple[str, ...] = ()) -> Step:
        """It as a step of a plan."""
        return Step(shlex.join(self.argv), self, sets=sets, clears=clears)


def drain(node: str, reason: str) -> Command:
    """Nothing new starts there; what runs goes on."""
    return Command(("scontrol", "update", f"NodeName={node}", "State=DRAIN", f"Reason={reason}"))


def undrain(node: str) -> Command:
    """The end of that. Not RESUME: it also brings back a node that is down for a reason of its own."""
    return Command(("scontrol", "update", f"NodeName={node}", "State=UNDRAIN"))


def hold(job: str) -> Command:
    """Of a job that waits. One that runs would run on, with priority 0."""
    return Command(("scontrol", "hold", job))


def release(job: str) -> Command:
    """The end of a hold, and of what a requeuehold left."""
    return Command(("scontrol", "release", job))


def suspend(job: str) -> Command:
    """All processes of a job get SIGSTOP."""
    return Command(("scontrol", "suspend", job))


def resume(job: str) -> Command:
    """And SIGCONT."""
    return Command(("scontrol", "resume", job), so_already="not suspended")


def requeue(job: str, *, held: bool) -> Command:
    """It ends here and waits in the queue again."""
    return Command(("scontrol", "requeuehold" if held else "requeue", job))


def signal(job: str, name: str) -> Command:
    """To the batch script of a job."""
    return Command(("scancel", "--batch", f"--signal={name}", job))


def comment(job: str, text: str) -> Command:
    """What a job's user reads in AdminComment; "" takes it away."""
    return Command(("scontrol", "update", f"JobId={job}", f"AdminComment={text}"), comments=job)
