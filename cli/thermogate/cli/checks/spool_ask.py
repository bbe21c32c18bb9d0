"""A spool looked at with the rights of its owner, in a process that can be killed.

The folder is the service user's, who may have put anything into it, and who asks is often root: so it is
read as that user, with an end to memory and time, and what comes back is believed up to a bound. Run as
`python -m thermogate.cli.checks.spool_ask DATA_DIR NODE [UID GID]`.
"""

import codecs
import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec

from thermogate.cli.checks import people, spool_look
from thermogate.cli.checks.spool_look import SpoolLook
from thermogate.core.clock import SystemClock

_MEMORY_BYTES = 1 << 30
"""Addresses that the process may use: ten times what a week of messages needs."""
_ANSWER_BYTES = 8 * 1024 * 1024
"""More than two minutes of 64 devices with all their fields."""
_ERROR_BYTES = 4096
_LAST_WORDS_S = 0.5


def ask(data_dir: Path, node: str, timeout_s: float) -> SpoolLook:
    """Look at the spools below `data_dir`, first of all at that of `node`. Raises nothing: see `hidden`."""
    folder = data_dir / "spool" / node
    way = tuple(found for part in reversed(folder.parents) if (found := people.access(part)))
    try:
        look = msgspec.json.decode(_answer(data_dir, node, timeout_s), type=SpoolLook)
    except TimeoutError:
        look = SpoolLook(folder=str(folder), hidden=f"{folder}: no answer in time")
    except (OSError, msgspec.MsgspecError) as err:
        look = SpoolLook(folder=str(folder), hidden=f"{folder} cannot be read: {err}")
    look.way = way
    return look


def _answer(data_dir: Path, node: str, timeout_s: float) -> bytes:
    """What the process says. Raises TimeoutError, or OSError when it says nothing.

    It writes into memory and not into pipes: no more of it is read than is believed.
    """
    command = [sys.executable, "-P", "-m", __name__, str(data_dir), node, *map(str, _owner(data_dir))]
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
            _end(child)
        if status:
            last = os.pread(err.fileno(), _ERROR_BYTES, 0).decode(errors="replace").strip().splitlines()[-1:]
            raise OSError(f"reading it ended with {status}: {' '.join(last)}")
        return os.pread(out.fileno(), _ANSWER_BYTES, 0)


def _owner(data_dir: Path) -> tuple[int, ...]:
    """Whom to become, user and group; () for who is not root. Raises OSError."""
    if os.geteuid() != 0:
        return ()
    for path in (data_dir / "spool", data_dir):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = path.stat(follow_symlinks=False)
            return found.st_uid, found.st_gid
    return ()


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Kill it; one that hangs in the kernel is left behind."""
    child.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_LAST_WORDS_S)


def main(data_dir: Path, node: str, *owner: int) -> None:
    """`SpoolLook` to standard output as JSON.

    Rights are given up here and not when the process begins, so that the owner need not be able to read
    this program, and may not trace it, see PR_SET_DUMPABLE in prctl(2).
    """
    codecs.lookup("ascii")  # as all else that is used, loaded while it can be
    if owner:
        uid, gid = owner
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    clock = SystemClock()
    look = spool_look.look(data_dir / "spool" / node, clock)
    look.others = spool_look.others(data_dir / "spool", node, clock)
    sys.stdout.buffer.write(msgspec.json.encode(look))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
