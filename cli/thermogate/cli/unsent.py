"""How much of what was measured here no store has: `python -m thermogate.cli.unsent /var/lib/thermogate`.

A process of its own, because the folder belongs to the service's user, who may have put anything into
it: it is opened with that user's rights and not with root's, in bounded time and memory.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import msgspec

from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.core.errors import ThermogateError, UnavailableError
from thermogate.core.wire import to_name

_TIMEOUT_S = 60.0
"""Many times what a full spool on a slow disk takes; a FIFO in its place takes for ever."""
_MEMORY_BYTES = 1024**3
"""Several times what a full spool takes; a file of holes can be of any size."""
_COUNTS = msgspec.json.Decoder(dict[str, int])


def count(data_dir: Path) -> dict[str, int]:
    """Messages in the spools below `data_dir`, by node; no node without any.

    Raises UnavailableError while an agent runs on one.
    """
    found: dict[str, int] = {}
    for folder in sorted((data_dir / "spool").glob("*/")):
        with Spool(folder, SpoolSettings()) as spool:
            node = to_name(folder.name)
            found[node] = found.get(node, 0) + spool.depth
    return {node: depth for node, depth in found.items() if depth}


def count_as_owner(data_dir: Path, timeout_s: float = _TIMEOUT_S) -> dict[str, int]:
    """The same for root, with the rights of the folder's owner. Raises UnavailableError."""
    if not (data_dir / "spool").is_dir():
        return {}
    try:
        found = _COUNTS.decode(_ask(data_dir, timeout_s))
    except subprocess.TimeoutExpired as err:
        raise _cannot(data_dir, f"no answer in {timeout_s:g} s; what is in {data_dir}/spool?") from err
    except (OSError, msgspec.MsgspecError) as err:
        raise _cannot(data_dir, str(err)) from err
    return {to_name(node): depth for node, depth in found.items()}  # the process is of that user as well


def _ask(data_dir: Path, timeout_s: float) -> bytes:
    owner = (data_dir / "spool").stat(follow_symlinks=False)
    root = os.geteuid() == 0
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(data_dir)],
        user=owner.st_uid if root else None,
        group=owner.st_gid if root else None,
        extra_groups=[] if root else None,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        raise _cannot(data_dir, done.stderr.decode(errors="replace"))
    return done.stdout


def _cannot(data_dir: Path, why: str) -> UnavailableError:
    """The reason is of that user's making: nothing in it may drive a terminal, nor fill it."""
    lines = why.strip().splitlines() or ["it does not say why"]
    plain = "".join(letter if letter.isprintable() else "?" for letter in lines[-1][:500])
    return UnavailableError(
        f"{data_dir}: cannot count what is not stored yet: {plain} (--keep-spool and --force do without)"
    )


def _main(data_dir: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        print(msgspec.json.encode(count(data_dir)).decode())
    except (ThermogateError, OSError) as err:
        sys.exit(str(err))
    except MemoryError:
        sys.exit(f"reading it takes more than {_MEMORY_BYTES // 1024**2} MiB of memory")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
