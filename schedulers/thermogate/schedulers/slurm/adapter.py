"""Slurm as `Obey` sees it. What is there is asked of Slurm each time; nothing is kept here."""

import logging
import re
from collections.abc import Iterable, Mapping

from thermogate.core.clock import NS, Clock
from thermogate.core.decision import State, TargetKind
from thermogate.schedulers.adapter import ActionError, Mark, Marks, Plan, Step
from thermogate.schedulers.slurm import jobs, nodes, reading
from thermogate.schedulers.slurm.command import Command
from thermogate.schedulers.slurm.programs import RefusedError, Runner
from thermogate.schedulers.slurm.reading import JobSeen, NodeSeen, ReadingError
from thermogate.schedulers.slurm.settings import SlurmSettings
from thermogate.schedulers.slurm.words import is_ours, read_comment
from thermogate.schedulers.standing import Standing, Target

log = logging.getLogger(__name__)

_JOB = re.compile(r"slurm-([0-9]{1,10}(?:_[0-9]{1,10})?)")
"""How agents call a job of Slurm (docs/slurm.md), as a target of decisions."""
_COMMENT = re.compile(r" AdminComment=(.*?)(?= [A-Z][A-Za-z]*=|$)", re.MULTILINE)
_UNKNOWN_JOB = "Invalid job id"


class SlurmAdapter:
    """Implements Adapter: nodes are drained; jobs are held in the queue, suspended or requeued."""

    def __init__(self, settings: SlurmSettings, runner: Runner, clock: Clock) -> None:
        self._settings = settings
        self._runner = runner
        self._clock = clock
        self._targets = {there: here for here, there in settings.nodes.items()}

    @property
    def name(self) -> str:
        """The `scheduler` of its reports."""
        return "slurm"

    @property
    def kinds(self) -> tuple[TargetKind, ...]:
        """Nodes and jobs."""
        return ("node", "job")

    async def plan(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        """The steps from what is there to what is wanted."""
        if target[0] == "node":
            return await self._plan_node(target, wanted, marks)
        return await self._plan_job(target, wanted, marks)

    async def perform(self, step: Step) -> None:
        """Give one command. Raises ActionError."""
        command = step.data
        assert isinstance(command, Command)
        if command.comments and not await self._may_comment(command.comments):
            return
        try:
            await self._runner.run(*command.argv)
        except RefusedError as err:
            if not command.so_already or command.so_already not in err.said:
                raise

    async def found(self) -> Mapping[Target, Marks]:
        """Drains whose Reason is ours, and jobs whose AdminComment says what we did."""
        found: dict[Target, dict[str, Mark]] = {}
        for node in (await self._all_nodes()).values():
            if node.drained and is_ours(node.reason):
                target: Target = ("node", self._targets.get(node.name, node.name))
                found.setdefault(target, {})[nodes.DRAIN] = Mark()
        for comment in await self._comments():
            signed = read_comment(comment)
            if signed is not None:
                marks = {f"{signed.thing}:{signed.spec}": Mark(), f"sign:{signed.spec}": Mark()}
                found.setdefault(signed.target, {}).update(marks)
        return found

    async def _plan_node(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        if not wanted.held and not marks:
            return Plan(f"a pace of {wanted.pace:.2f} is nothing that Slurm could set")
        name = self._settings.nodes.get(target[1], target[1])
        node = await self._node(name)
        mark = marks.get(nodes.DRAIN)
        now_s = self._now_s()
        boot_s = await self._boot_s() if wanted.held and nodes.is_missing(node, mark) else None
        drain = nodes.plan_node(node, name, wanted, mark, now_s, boot_s)
        if not wanted.held:
            return jobs.joined((drain, await self._release_jobs(marks)))
        how = self._settings.on_node_repair if wanted.state is State.REPAIR else self._settings.on_node_hold
        ours = node is not None and node.drained and is_ours(node.reason)
        if how == "leave" or not (ours or drain.steps):
            return drain
        ask = jobs.Ask(target, how, wanted.why, now_s)
        running = await self._jobs(f"--nodelist={name}", "--states=RUNNING,SUSPENDED")
        return jobs.joined((drain, *(jobs.hold_job(job, ask, marks, self._settings) for job in running)))

    async def _plan_job(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        match = _JOB.fullmatch(target[1])
        if match is None:
            return Plan(
                f"{target[1]} is no job of Slurm's: those are called slurm-JOBID", forgets=tuple(marks)
            )
        if not wanted.held and not marks:
            return Plan(f"a pace of {wanted.pace:.2f} is nothing that Slurm could set")
        if not wanted.held:
            return await self._release_jobs(marks)
        asked = await self._jobs(f"--jobs={match[1]}")
        job = next((one for one in asked if match[1] in (str(one.id), one.spec)), None)
        if job is None:
            return Plan(f"Slurm has no job {match[1]} now", forgets=tuple(marks))
        ask = jobs.Ask(target, self._settings.on_job_hold, wanted.why, self._now_s())
        return jobs.hold_job(job, ask, marks, self._settings)

    async def _release_jobs(self, marks: Marks) -> Plan:
        by_spec = jobs.marked(marks)
        if not by_spec:
            return Plan("")
        there = {job.spec: job for job in await self._jobs(f"--jobs={','.join(by_spec)}")}
        return jobs.joined(jobs.release_job(there.get(spec), spec, what) for spec, what in by_spec.items())

    async def _node(self, name: str) -> NodeSeen | None:
        text = await self._runner.run(
            "sinfo", "--all", "--noheader", "--Node", f"--nodes={name}", f"--Format={reading.node_format()}"
        )
        found = reading.read_nodes(text).get(name)
        # sinfo is silent about a node that was taken out of its partition: ours would be forgotten there
        return found if found is not None else (await self._all_nodes()).get(name)

    async def _all_nodes(self) -> dict[str, NodeSeen]:
        text = await self._runner.run("scontrol", "--all", "show", "node", "--oneliner")
        return reading.read_shown_nodes(text)

    async def _jobs(self, *asked: str) -> list[JobSeen]:
        try:
            text = await self._runner.run(
                "squeue", "--all", "--noheader", *asked, f"--Format={reading.job_format()}"
            )
            return reading.read_jobs(text)
        except RefusedError as err:
            if _UNKNOWN_JOB in err.said:
                return []
            raise
        except ReadingError as err:
            raise ActionError(str(err)) from err

    async def _boot_s(self) -> float | None:
        return reading.read_boot_s(await self._runner.run("scontrol", "show", "config"))

    async def _may_comment(self, job: str) -> bool:
        """Whether a job's AdminComment is empty or ours; False where its user has made that hard to tell."""
        text = await self._runner.run("scontrol", "show", "job", job, "--oneliner")
        return all(is_ours(one) for one in _COMMENT.findall(text) if one.strip())

    async def _comments(self) -> Iterable[str]:
        if not self._settings.sign_jobs:
            return ()
        try:
            return reading.read_admin_comments(await self._runner.run("squeue", "--all", "--json"))
        except (ActionError, ReadingError) as err:
            log.warning("jobs are undone by the journal alone, as their comments cannot be read: %s", err)
            return ()

    def _now_s(self) -> float:
        return self._clock.utc_ns() / NS
