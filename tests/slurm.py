"""A private Slurm of emulated nodes on this machine: controller, munge, a slurmd a node, own ports.

Debian's slurmd takes `-N NAME`, so that one machine is many nodes. Nothing of it outlives the block: its
folder is a short one below the temporary folder (a socket's path has 107 characters at most).
"""

import contextlib
import os
import secrets
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers import binary, free_port

_START_S = 60.0
_COMMAND_S = 30.0
_ATTEMPTS = 3
_GPUS = 8
_CPUS = 4

_CONF = """\
ClusterName=thermogate-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
ReturnToService=2
KillWait=2
InactiveLimit=0
MessageTimeout=20
"""


class EndedError(Exception):
    """A server ended while it was waited for."""


class Cluster:
    """A running one. `run` gives a command to it; `env` is what a client needs to find it."""

    def __init__(self, folder: Path, nodes: tuple[str, ...]) -> None:
        self.folder = folder
        self.nodes = nodes
        self.env: Mapping[str, str] = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._servers: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, *command: str, check: bool = True) -> str:
        """What a command of Slurm's printed."""
        program = [binary(command[0]), *command[1:]]
        done = subprocess.run(
            program, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=_COMMAND_S
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """The id of a batch job of this script."""
        file = self.folder / f"job-{secrets.token_hex(4)}.sh"
        file.write_text(f"#!/bin/sh\n{script}\n")
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, str(file)).partition(";")[0]

    def node_states(self, node: str) -> set[str]:
        """The states of a node, such as {"IDLE", "DRAIN"}."""
        return set(self._field("node", node, "State").rstrip("*").split("+"))

    def node_reason(self, node: str) -> str:
        """Its Reason, "" when it has none."""
        shown = self.run("sinfo", "--noheader", f"--nodes={node}", "--Format=reason:512").strip()
        return "" if shown == "none" else shown

    def job_state(self, job: str) -> str:
        """The state of a job, such as "RUNNING"."""
        return self._field("job", job, "JobState")

    def job_field(self, job: str, name: str) -> str:
        """A field of `scontrol show job`."""
        return self._field("job", job, name)

    def _field(self, kind: str, name: str, field: str) -> str:
        shown = self.run("scontrol", "show", kind, name, "--oneliner")
        return next((word.partition("=")[2] for word in shown.split() if word.startswith(f"{field}=")), "")

    def start(self, name: str) -> None:
        """Start "munged", "slurmctld" or the slurmd of a node, and come back once it serves."""
        log = (self.folder / f"{name}.out").open("ab")
        with log:
            self._servers[name] = subprocess.Popen(
                self._command(name), env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        if name == "munged":
            wait_for(lambda: (self.folder / "munge.socket").is_socket(), "munged", self.logs)
        elif name == "slurmctld":
            wait_for(self._controller_is_up, "slurmctld", self.logs)

    def stop(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a server by a signal and wait for its end; by default as a crash would."""
        server = self._servers.pop(name)
        server.send_signal(number)
        server.wait(_START_S)

    def start_all(self) -> None:
        """Everything, and wait until all nodes take work."""
        for name in ("munged", "slurmctld", *self.nodes):
            self.start(name)
        wait_for(self._all_idle, "the nodes", self.logs)

    def stop_all(self) -> None:
        """Everything, with the jobs that still run."""
        for name in reversed(list(self._servers)):
            self.stop(name)
        _kill_those_of(self.folder)

    def logs(self) -> str:
        """The ends of all logs, for a person whose test failed."""
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(f"-- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    def _command(self, name: str) -> list[str]:
        if name == "munged":
            files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
            options = [f"--{file}={self.folder}/munge.{file.partition('-')[0]}" for file in files]
            return [binary("munged"), "--foreground", "--force", *options]
        if name == "slurmctld":
            return [binary("slurmctld"), "-D", "-f", f"{self.folder}/slurm.conf"]
        return [binary("slurmd"), "-D", "-N", name, "-f", f"{self.folder}/slurm.conf"]

    def _check(self) -> None:
        ended = [name for name, server in self._servers.items() if server.poll() is not None]
        if ended:
            raise EndedError(f"{', '.join(ended)} ended")

    def _controller_is_up(self) -> bool:
        self._check()
        done = subprocess.run([binary("scontrol"), "ping"], env=self.env, capture_output=True, text=True)
        return "is UP" in done.stdout

    def _all_idle(self) -> bool:
        self._check()
        return all(self.node_states(node) == {"IDLE"} for node in self.nodes)


@contextlib.contextmanager
def slurm(nodes: int = 4) -> Iterator[Cluster]:
    """A Slurm of so many nodes, "gpu0" and so on, with 4 CPUs and 8 GPUs each, all idle."""
    for program in ("munged", "slurmctld", "slurmd", "scontrol"):
        binary(program)
    if os.getuid() != 0:
        pytest.skip("slurmd starts jobs as their users: it needs root")
    with tempfile.TemporaryDirectory(prefix="tg-slurm-", ignore_cleanup_errors=True) as name:
        cluster = _started(Path(name), tuple(f"gpu{number}" for number in range(nodes)))
        try:
            yield cluster
        finally:
            cluster.stop_all()


def _started(folder: Path, nodes: tuple[str, ...]) -> Cluster:
    """A port that was free may have been taken before its server listened: then another try."""
    for attempt in range(_ATTEMPTS):
        cluster = Cluster(folder / str(attempt), nodes)
        _configure(cluster)
        try:
            cluster.start_all()
        except EndedError as err:
            logs = cluster.logs()
            cluster.stop_all()
            if attempt == _ATTEMPTS - 1:
                pytest.fail(f"{err}\n{logs}")
        except BaseException:
            cluster.stop_all()
            raise
        else:
            return cluster
    raise AssertionError


def _configure(cluster: Cluster) -> None:
    folder, host = cluster.folder, socket.gethostname().partition(".")[0]
    folder.parent.chmod(0o755)  # munge's socket is for every user
    (folder / "state").mkdir(parents=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    conf = _CONF.format(host=host, port=free_port(), user="root", folder=folder)
    for node in cluster.nodes:
        (folder / "spool" / node).mkdir(parents=True)
        conf += (
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} "
            f"CPUs={_CPUS} RealMemory=1000 Gres=gpu:h100:{_GPUS}\n"
        )
    conf += f"PartitionName=train Nodes={','.join(cluster.nodes)} Default=YES MaxTime=INFINITE State=UP\n"
    (folder / "slurm.conf").write_text(conf)
    for number in range(_GPUS):  # slurmd counts only GPUs that have a device file; nobody opens these
        os.mknod(folder / f"nvidia{number}", stat.S_IFCHR | 0o600, os.makedev(195, number))
    gres = f"AutoDetect=off\nName=gpu Type=h100 File={folder}/nvidia[0-{_GPUS - 1}]\n"
    (folder / "gres.conf").write_text(gres)


def wait_for(
    holds: Callable[[], bool], what: str, logs: Callable[[], str] = str, limit_s: float = _START_S
) -> None:
    """Return once it holds; fail with what was waited for and the logs."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.05)
    pytest.fail(f"{what}: not so after {limit_s:.0f} s\n{logs()}")


def _kill_those_of(folder: Path) -> None:
    """slurmstepd and what jobs started are children of nobody: they are known by the cluster's folder."""
    mark = str(folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes() or mark in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
