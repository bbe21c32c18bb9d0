"""A throw-away machine with systemd as its first process: an overlay of this one, the network shared.

Nothing that happens in it outlives it: the overlay's upper layer is a tmpfs in a mount namespace of its
own, and its control groups are below one that is removed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.servers import binary

_BOOT_S = 60.0
_CGROUP_TREES = ("", "unified", "systemd")
"""Of both versions, and of systems that have both."""
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_BOOT = """
set -e
mkdir -p "$1/top" "$1/root"
mount -t tmpfs -o mode=755 tmpfs "$1/top"
mkdir "$1/top/upper" "$1/top/work"
mount -t overlay -o "lowerdir=/,upperdir=$1/top/upper,workdir=$1/top/work" overlay "$1/root"
[ "$2" ] || exit 0
for tree in "" unified systemd; do
    group=/sys/fs/cgroup/$tree/thermogate-nspawn-$$
    [ -e ${group%/*}/cgroup.procs ] && mkdir $group && echo $$ > $group/cgroup.procs
done
root=$1
shift
exec "$@" --directory="$root/root" systemd.unit=basic.target
"""


class Machine:
    """A running one."""

    def __init__(self, init_pid: int) -> None:
        self._enter = [binary("nsenter"), "--target", str(init_pid), "--all"]

    def run(
        self, *command: str, check: bool = True, timeout: float = 90, env: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """A command of root's in it, to its end."""
        done = subprocess.run(
            [*self._enter, *command], env={**_ENV, **env}, capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def said(self, *command: str) -> str:
        """What a command printed."""
        return self.run(*command).stdout.strip()

    def install_python(self, wheel: Path) -> None:
        """The wheel in /opt/thermogate, with the packages that this test itself runs on."""
        name = Path(sys.executable).resolve().name
        python = f"/usr/bin/{name}" if _system_python() else f"/opt/python/bin/{name}"
        if not _system_python():  # its own run path may lead to where a service does not see
            self.run("sh", "-c", "echo /opt/python/lib > /etc/ld.so.conf.d/000-python.conf && ldconfig")
        site = f"/opt/thermogate/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        self.run(python, "-m", "venv", "--without-pip", "/opt/thermogate")
        self.run("sh", "-c", f"echo /opt/packages > {site}/packages.pth")
        pip = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed")
        self.run("/opt/thermogate/bin/python", *pip, f"/opt/wheel/{wheel.name}")


@contextlib.contextmanager
def booted(folder: Path, wheel: Path) -> Iterator[Machine]:
    """A machine that has `folder`/share at the same path; skips where this one cannot have it."""
    nspawn = binary("systemd-nspawn")
    if os.geteuid() != 0:
        pytest.skip("systemd-nspawn needs root")
    isolated = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BOOT, "sh", str(folder)]
    tried = subprocess.run([*isolated, ""], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"an overlay of / cannot be mounted here: {tried.stderr.strip()}")
    share = folder / "share"
    share.mkdir()
    binds = {wheel.parent: "/opt/wheel", _site_packages(): "/opt/packages"}
    if not _system_python():
        binds[Path(sys.base_prefix)] = "/opt/python"
    options = ["--boot", "--register=no", "--keep-unit", "--quiet", "--machine=thermogate-test"]
    options += [f"--bind={share}", *(f"--bind-ro={source}:{target}" for source, target in binds.items())]
    log = folder / "nspawn.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*isolated, nspawn, *options], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        yield Machine(_wait_for_init(process, log))
    finally:
        _end(process)


def _wait_for_init(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _BOOT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.skip(f"systemd-nspawn does not run here: {log.read_text().strip()}")
        for pid in _children(process.pid):
            state = [binary("nsenter"), "-t", str(pid), "-a", "systemctl", "is-active", "basic.target"]
            if subprocess.run(state, env=_ENV, capture_output=True).stdout == b"active\n":
                return pid
        time.sleep(0.1)
    _end(process)
    raise AssertionError(f"systemd does not come up in nspawn:\n{log.read_text()}")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _end(process: subprocess.Popen[bytes]) -> None:
    for pid in _children(process.pid):  # the first process of a pid namespace: all others go with it
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait(10)
    groups = [Path("/sys/fs/cgroup", tree, f"thermogate-nspawn-{process.pid}") for tree in _CGROUP_TREES]
    deadline = time.monotonic() + 5
    while any(group.exists() for group in groups) and time.monotonic() < deadline:
        for group in groups:
            _remove_groups(group)


def _remove_groups(top: Path) -> None:
    for folder in sorted(top.glob("**/"), reverse=True):
        with contextlib.suppress(OSError):  # the kernel is still at the last of its processes
            folder.rmdir()


def _system_python() -> bool:
    return sys.base_prefix == "/usr"


def _site_packages() -> Path:
    import msgspec

    return Path(msgspec.__file__).parents[1]
