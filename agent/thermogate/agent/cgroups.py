"""Whose a process is, from the text of its /proc/PID/cgroup. Pure, and nothing in the text can make it fail.

Where the forms come from: Slurm's cgroup v1 and v2 plugins (slurm.schedmd.com/cgroups.html,
cgroup_v2.html), the kubelet's cgroupfs and systemd drivers with containerd, CRI-O and dockershim
below them, Docker, Podman and nerdctl by themselves, and systemd's units (systemd.unit(5) for the
escapes). cgroups(7) has the format of the file.

The names are as true as those who may make groups. A container with its part of the tree mounted
writable (a privileged one), and a service that systemd delegates a group to, make groups of any name
below their own, and so can pass for a job of Slurm. Below /user.slice, where every user may, none counts.
"""

import re

import msgspec

from thermogate.core.model import JobManager
from thermogate.core.wire import to_name

MAX_BYTES = 16 * 1024
"""Of the file that are looked at: v1 has a dozen lines, and a path has 4096 characters at most."""

_SHORT_ID = 12
"""Characters of a container's id, as `docker ps` shows them."""
_SLURM_V1 = re.compile(r"/slurm(?:_[^/]+)?/uid_([0-9]{1,10})/job_([0-9]{1,10})(?:/step_([^/]+))?(?=/|$)")
_SLURM_V2 = re.compile(r"/(?:[^/]+_)?slurmstepd\.scope/job_([0-9]{1,10})(?:/step_([^/]+))?(?=/|$)")
# A static pod's uid is a hash without dashes; systemd's driver writes dashes as underscores.
_POD = re.compile(r"[/-]pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[./:]|$)")
_CONTAINER = re.compile(r"(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$")
_UNIT = re.compile(r".+\.(?:service|scope|slice)")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_RANKS: tuple[JobManager, ...] = ("unit", "container", "pod", "slurm")


class Owner(msgspec.Struct, frozen=True, gc=False):
    """What a process belongs to; `id` is that of the job, pod, container or unit.

    Every text is fit for a tag ([A-Za-z0-9._-], 128 at most), because users choose some of them.
    `uid` is the one in the path (Slurm with cgroup v1), else None. `users_own` says that a unit is one
    of a user's session or service manager, where every user may have one of that name.
    """

    manager: JobManager
    id: str
    step: str = ""
    qos: str = ""
    container: str = ""
    uid: int | None = None
    users_own: bool = False


def owner_of(text: str) -> Owner | None:
    """The most telling owner of all lines: a Slurm job before a pod, a container and a systemd unit."""
    best: Owner | None = None
    for line in text[:MAX_BYTES].splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3 or not fields[2].startswith("/"):
            continue
        found = _owner(_normal(fields[2]), systemd=fields[1] in ("", "name=systemd"))
        if found is not None and (best is None or _RANKS.index(found.manager) > _RANKS.index(best.manager)):
            best = found
    return best


def _normal(path: str) -> str:
    """Without what a reader in a cgroup namespace of its own sees in front, and a removed group behind."""
    parts = path.removesuffix(" (deleted)").split("/")
    return "/" + "/".join(part for part in parts if part not in ("", ".."))


def _owner(path: str, *, systemd: bool) -> Owner | None:
    # Below their own service users make groups as they like, so what is there names no job and no pod.
    users_own = path.startswith("/user.slice/")
    managed = None if users_own else _slurm(path) or _pod(path)
    if managed is not None:
        return managed
    container = _container(path)
    if container:
        return Owner("container", container, container=container)
    unit = _unit(path) if systemd else ""
    return Owner("unit", unit, users_own=users_own) if unit else None


def _slurm(path: str) -> Owner | None:
    if match := _SLURM_V2.search(path):
        return Owner("slurm", match[1], step=_step(match[2]))
    if match := _SLURM_V1.search(path):
        return Owner("slurm", match[2], step=_step(match[3]), uid=int(match[1]))
    return None


def _step(text: str | None) -> str:
    return to_name(text) if text else ""


def _pod(path: str) -> Owner | None:
    match = _POD.search(path)
    if match is None:
        return None
    before = path[: match.start()]
    qos = next((one for one in ("burstable", "besteffort") if one in before), "guaranteed")
    return Owner("pod", match[1].replace("_", "-"), qos=qos, container=_container(path[match.end() :]))


def _container(path: str) -> str:
    """The innermost container's short id, "" when there is none; conmon only watches over one."""
    for part in reversed(path.split("/")):
        match = _CONTAINER.search(part)
        if match and "conmon-" not in part:
            return match[1][:_SHORT_ID]
    return ""


def _unit(path: str) -> str:
    """The innermost systemd unit, its escapes undone; the root slice says nothing."""
    for part in reversed(path.split("/")):
        if part != "-.slice" and _UNIT.fullmatch(part):
            return to_name(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), part))
    return ""
