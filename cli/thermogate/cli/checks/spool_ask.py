"""A spool looked at with the rights of its owner, in a process that can be killed.

Run as `python -m thermogate.cli.checks.spool_ask DATA_DIR NODE [UID GID]`.
"""

import sys
from pathlib import Path

import msgspec

from thermogate.cli import child
from thermogate.cli.checks import people, spool_look
from thermogate.cli.checks.spool_look import SpoolLook
from thermogate.core.clock import SystemClock


def ask(data_dir: Path, node: str, timeout_s: float) -> SpoolLook:
    """Look at the spools below `data_dir`, first of all at that of `node`. Raises nothing: see `hidden`."""
    folder = data_dir / "spool" / node
    way = tuple(found for part in reversed(folder.parents) if (found := people.access(part)))
    try:
        answer = child.ask(__name__, (str(data_dir), node), data_dir, timeout_s)
        look = msgspec.json.decode(answer, type=SpoolLook)
    except TimeoutError:
        look = SpoolLook(folder=str(folder), hidden=f"{folder}: no answer in time")
    except (OSError, msgspec.MsgspecError) as err:
        look = SpoolLook(folder=str(folder), hidden=f"{folder} cannot be read: {err}")
    look.way = way
    return look


def main(data_dir: Path, node: str, *owner: int) -> None:
    """`SpoolLook` to standard output as JSON."""
    child.become(*owner)
    clock = SystemClock()
    look = spool_look.look(data_dir / "spool" / node, clock)
    look.others = spool_look.others(data_dir / "spool", node, clock)
    sys.stdout.buffer.write(msgspec.json.encode(look))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
