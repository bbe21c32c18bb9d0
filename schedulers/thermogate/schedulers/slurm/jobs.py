"""From what a job is to what it shall be. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from thermogate.schedulers.adapter import Marks, Plan, Step
from thermogate.schedulers.slurm import command
from thermogate.schedulers.slurm.reading import JobSeen
from thermogate.schedulers.slurm.settings import OnJob, SlurmSettings
from thermogate.schedulers.slurm.words import Signed, comment
from thermogate.schedulers.standing import Target

_THINGS = ("hold", "suspend", "requeue")
"""What is undone on release. "checkpoint" (when the signal was sent) and "sign" stand beside them."""
_THERE = {"hold": "PENDING", "requeue": "PENDING", "suspend": "SUSPENDED"}
_BEFORE_HELD = frozenset({"COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SIGNALING"})
"""States of a job that is on its way back into the queue."""
_LOOK_AGAIN_S = 3.0
_MOST_TOLD = 8


class Ask(NamedTuple):
    """What is asked for about the jobs of a target: how those that run are stopped, why, and now (UTC s)."""

    target: Target
    how: OnJob
    why: str
    now_s: float


def marked(marks: Marks) -> dict[str, list[str]]:
    """The jobs of marks such as "suspend:1234", each with what is marked."""
    found: dict[str, list[str]] = {}
    for name in marks:
        thing, colon, spec = name.partition(":")
        if colon:
            found.setdefault(spec, []).append(thing)
    return found


def joined(plans: Iterable[Plan]) -> Plan:
    """Several plans as one."""
    every = list(plans)
    texts = [plan.text for plan in every if plan.text]
    more = f"; and {len(texts) - _MOST_TOLD} more" if len(texts) > _MOST_TOLD else ""
    return Plan(
        "; ".join(texts[:_MOST_TOLD]) + more,
        tuple(step for plan in every for step in plan.steps),
        tuple(name for plan in every for name in plan.forgets),
        min((plan.again_s for plan in every if plan.again_s is not None), default=None),
    )


def hold_job(job: JobSeen, ask: Ask, marks: Marks, settings: SlurmSettings) -> Plan:
    """The steps until it waits."""
    for thing in _THINGS:
        mark = marks.get(f"{thing}:{job.spec}")
        if mark is not None and mark.done:
            return _stays(job, thing)
    begun = {thing for thing in _THINGS if f"{thing}:{job.spec}" in marks}
    if job.state == "PENDING":
        if job.held and not begun:
            return Plan(f"job {job.spec} is held by somebody else: left alone")
        thing = "requeue" if "requeue" in begun else "hold"
        return _set(job, ask, thing, command.hold(job.spec), f"hold job {job.spec} in the queue", settings)
    if job.state == "SUSPENDED":
        if "suspend" in begun:
            return _suspend(job, ask, settings)
        return Plan(f"job {job.spec} is suspended by somebody else: left alone")
    if job.state != "RUNNING":
        return Plan(f"job {job.spec} is {job.state}", again_s=_LOOK_AGAIN_S)
    return _stop(job, ask, marks, settings)


def release_job(job: JobSeen | None, spec: str, things: Iterable[str]) -> Plan:
    """The steps that undo what is marked on one job, and the marks of what is not there any more."""
    names = {thing: f"{thing}:{spec}" for thing in things}
    if job is None:
        return Plan(f"job {spec} has ended", forgets=tuple(names.values()))
    if "requeue" in names and job.state in _BEFORE_HELD:
        return Plan(f"job {spec} is on its way into the queue: released there", again_s=_LOOK_AGAIN_S)
    steps: list[Step] = []
    forgets: list[str] = []
    for thing, name in names.items():
        if thing in _THINGS and _is_there(job, thing):
            undo = command.resume if thing == "suspend" else command.release
            steps.append(undo(spec).step(clears=(name,)))
        elif thing != "sign":
            forgets.append(name)
    if "sign" in names:
        steps.append(command.comment(spec, "").step(clears=(names["sign"],)))
    return Plan(f"let job {spec} go on" if steps else f"job {spec} goes on", tuple(steps), tuple(forgets))


def _stays(job: JobSeen, thing: str) -> Plan:
    """What is to be done about what has been done: nothing, whether it is still there or not."""
    if _is_there(job, thing) or (thing == "requeue" and job.state in _BEFORE_HELD):
        return Plan("")
    return Plan(f"job {job.spec} was let go by somebody: left alone until the gate has let it go once")


def _stop(job: JobSeen, ask: Ask, marks: Marks, settings: SlurmSettings) -> Plan:
    """The steps for a job that runs: the signal, the wait, and then what was chosen."""
    if ask.how == "leave":
        return Plan(f"job {job.spec} runs on")
    if settings.checkpoint_signal:
        sent = marks.get(f"checkpoint:{job.spec}")
        if sent is None or not sent.done:
            return _checkpoint(job, ask, settings)
        waited_s = ask.now_s - float(sent.detail)
        if ask.how != "checkpoint" and 0 <= waited_s < settings.checkpoint_s:
            return Plan("", again_s=settings.checkpoint_s - waited_s)
    if ask.how == "checkpoint":
        return Plan("")
    if ask.how == "suspend":
        return _suspend(job, ask, settings)
    return _requeue(job, ask, settings)


def _checkpoint(job: JobSeen, ask: Ask, settings: SlurmSettings) -> Plan:
    step = command.signal(job.spec, settings.checkpoint_signal).step(
        sets={f"checkpoint:{job.spec}": f"{ask.now_s:.0f}"}
    )
    text = f"tell job {job.spec} to checkpoint"
    if ask.how == "checkpoint":
        return Plan(text, (step,))
    return Plan(
        f"{text}, {ask.how} it {settings.checkpoint_s:.0f} s later", (step,), again_s=settings.checkpoint_s
    )


def _suspend(job: JobSeen, ask: Ask, settings: SlurmSettings) -> Plan:
    return _set(job, ask, "suspend", command.suspend(job.spec), f"suspend job {job.spec}", settings)


def _requeue(job: JobSeen, ask: Ask, settings: SlurmSettings) -> Plan:
    if not job.requeueable:
        return Plan(f"job {job.spec} cannot be requeued: it runs on")
    if ask.target[0] == "node":  # it starts elsewhere: nothing is held, and nothing to be undone
        requeued = command.requeue(job.spec, held=False).step()
        return Plan(f"requeue job {job.spec}", (requeued,))
    held = command.requeue(job.spec, held=True)
    return _set(job, ask, "requeue", held, f"requeue job {job.spec} and hold it there", settings)


def _set(
    job: JobSeen, ask: Ask, thing: str, act: command.Command, text: str, settings: SlurmSettings
) -> Plan:
    """A step that is undone later; before it, its sign in Slurm, so that a lost journal leaves nothing."""
    steps = [act.step(sets={f"{thing}:{job.spec}": f"{ask.now_s:.0f}"})]
    if settings.sign_jobs:
        said = comment(Signed(ask.target, thing, job.spec), ask.why)
        steps.insert(0, command.comment(job.spec, said).step(sets={f"sign:{job.spec}": ""}))
    return Plan(text, tuple(steps))


def _is_there(job: JobSeen, thing: str) -> bool:
    return job.state == _THERE[thing] and (thing == "suspend" or job.held)
