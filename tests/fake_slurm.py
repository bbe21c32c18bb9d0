"""A Slurm in memory that answers as the real one does (tests/recordings/slurm)."""

import json
from dataclasses import dataclass

from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.slurm import reading
from thermogate.schedulers.slurm.programs import RefusedError


@dataclass
class FakeNode:
    states: set[str]
    reason: str = ""
    in_partition: bool = True


@dataclass
class FakeJob:
    id: int
    state: str = "RUNNING"
    node: str = "gpu0"
    held: bool = False
    requeueable: bool = True
    admin_comment: str = ""


class FakeSlurm:
    """Implements Runner. `given` are the commands that change something, in their order."""

    def __init__(self) -> None:
        self.nodes = {"gpu0": FakeNode({"IDLE"}), "gpu1": FakeNode({"IDLE"})}
        self.jobs: dict[int, FakeJob] = {}
        self.boot = "2025-11-01T00:00:00"
        self.broken = False
        self.given: list[tuple[str, ...]] = []

    async def run(self, *argv: str) -> str:
        if self.broken:
            raise ActionError("scontrol did not answer within 15 s")
        options = dict(word.removeprefix("--").partition("=")[::2] for word in argv[1:])
        match argv:
            case ("sinfo", *_):
                return self._sinfo(options)
            case ("scontrol", "--all", "show", "node", "--oneliner"):
                return "".join(map(_shown, self.nodes, self.nodes.values()))
            case ("squeue", "--all", "--json"):
                jobs = [{"job_id": job.id, "admin_comment": job.admin_comment} for job in self.jobs.values()]
                return json.dumps({"jobs": jobs})
            case ("squeue", *_):
                return self._squeue(options)
            case ("scontrol", "show", "config"):
                return f"Configuration data\nBOOT_TIME               = {self.boot}\n"
            case ("scontrol", "show", "job", job, _):
                comment = self._job(job).admin_comment
                return f"JobId={job}{f' AdminComment={comment} ' if comment else ''} StdErr=/dev/null"
        self.given.append(argv)
        return self._change(argv)

    def _change(self, argv):
        match argv:
            case ("scontrol", "update", "NodeName=gpu0", "State=DRAIN", reason):
                self.nodes["gpu0"].states.add("DRAIN")
                self.nodes["gpu0"].reason = reason.removeprefix("Reason=")
            case ("scontrol", "update", "NodeName=gpu0", "State=UNDRAIN"):
                self.nodes["gpu0"] = FakeNode(self.nodes["gpu0"].states - {"DRAIN"})
            case ("scontrol", "update", job, comment):
                self._job(job.partition("=")[2]).admin_comment = comment.partition("=")[2]
            case ("scontrol", "suspend", job):
                self._job(job).state = "SUSPENDED"
            case ("scontrol", "resume", job):
                if self._job(job).state != "SUSPENDED":
                    raise RefusedError(
                        f"Job is not suspended for job {job}", f"Job is not suspended for job {job}"
                    )
                self._job(job).state = "RUNNING"
            case ("scontrol", "hold" | "release" as what, job):
                self._job(job).held = what == "hold"
            case ("scontrol", "requeuehold" | "requeue" as what, job):
                self._job(job).held = what == "requeuehold"
                self._job(job).state = "PENDING"
            case ("scancel", *_, job):
                self._job(job)
            case _:
                raise AssertionError(argv)
        return ""

    def _job(self, spec):
        found = self.jobs.get(int(spec))
        if found is None:
            said = f"Invalid job id specified for job {spec}"
            raise RefusedError(said, said)
        return found

    def _sinfo(self, options):
        asked = options["nodes"].split(",") if "nodes" in options else list(self.nodes)
        rows = []
        for name in asked:
            if name in self.nodes and self.nodes[name].in_partition:
                node = self.nodes[name]
                rows.append((name, "+".join(sorted(node.states)).lower(), node.reason or "none"))
        return _columns(reading.node_format(), rows)

    def _squeue(self, options):
        asked = options.get("jobs", "").split(",")
        if len(asked) == 1 and asked != [""] and int(asked[0]) not in self.jobs:
            raise RefusedError("squeue", "slurm_load_jobs error: Invalid job id specified")
        jobs = [job for job in self.jobs.values() if asked == [""] or str(job.id) in asked]
        if "nodelist" in options:
            jobs = [job for job in jobs if job.node == options["nodelist"]]
        if "states" in options:
            jobs = [job for job in jobs if job.state in options["states"].split(",")]
        rows = [
            (job.id, job.id, "N/A", job.state, 0 if job.held else 4294901757, int(job.requeueable), 1)
            for job in jobs
        ]
        return _columns(reading.job_format(), rows)


def _shown(name, node):
    reason = f" Reason={node.reason} [root@2026-11-21T22:22:28]" if node.reason else ""
    return f"NodeName={name} Arch=x86_64 State={'+'.join(sorted(node.states))} Weight=1{reason}\n"


def _columns(form, rows):
    widths = [int(one.partition(":")[2]) for one in form.split(",")]
    return "".join(
        "".join(str(cell)[:width].ljust(width) for cell, width in zip(row, widths, strict=True)) + "\n"
        for row in rows
    )
