"""Processes that can be killed, for what may hang, or is the service's user's and not to be trusted.

Who asks is often root, and the folder may hold anything: so it is read with its owner's rights, with an
end to memory and time, and what comes back is believed up to a bound.
"""

import codecs
import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

MEMORY_BYTES = 1 << 30
"""Addresses that such a process may use: ten times what a week of messages needs."""
_ANSWER_BYTES = 8 * 1024 * 1024
"""More than two minutes of 64 devices with all their fields."""
_ERROR_BYTES = 4096
_LAST_WORDS_S = 0.5


class EndedError(OSError):
    """The process failed; `said` is its last line, "" when it said nothing."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"reading it ended with {status}: {said}")
        self.said = said


def ask(module: str, arguments: Iterable[str], data_dir: Path, timeout_s: float) -> bytes:
    """What `python -m MODULE ARGUMENTS [UID GID]` says; it is to `become` the owner of `data_dir`'s spools.

    Raises TimeoutError, EndedError, or another OSError. The process writes into memory and not into
    pipes: no more of it is read than is believed.
    """
    # -P: who asks may stand in a folder where others can put modules
    command = [sys.executable, "-P", "-m", module, *arguments, *map(str, _owner(data_dir))]
    with os.fdopen(os.memfd_create("answer"), "rb") as out, os.fdopen(os.memfd_create("error"), "rb") as err:
        child = subprocess.Popen(
            command,
            start_new_session=True,  # who has its rights must not type into root's terminal
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            end(child)
        if status:
            said = os.pread(err.fileno(), _ERROR_BYTES, 0).decode(errors="replace").strip().splitlines()
            raise EndedError(status, said[-1] if said else "")
        return os.pread(out.fileno(), _ANSWER_BYTES, 0)


def become(*owner: int) -> None:
    """In such a process: bound its memory, and take the rights of user and group if they are given.

    Rights are given up here and not when the process begins, so that the owner need not be able to read
    this program, and may not trace it, see PR_SET_DUMPABLE in prctl(2).
    """
    codecs.lookup("ascii")  # as all else that is used, loaded while it can be
    if owner:
        uid, gid = owner
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def end(child: "subprocess.Popen[bytes]") -> None:
    """Kill it; one that hangs in the kernel is left behind."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_LAST_WORDS_S)
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _owner(data_dir: Path) -> tuple[int, ...]:
    """Whom to become, user and group; () for who is not root. Raises OSError."""
    if os.geteuid() != 0:
        return ()
    for path in (data_dir / "spool", data_dir):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = path.stat(follow_symlinks=False)
            return found.st_uid, found.st_gid
    return ()
