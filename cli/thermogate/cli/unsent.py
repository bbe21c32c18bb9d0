"""How much of what was measured here no store has: `python -m thermogate.cli.unsent /var/lib/thermogate`.

A process of its own, because the folder belongs to the service's user, who may have put anything into
it: it is opened with that user's rights and not with root's.
"""

import os
import subprocess
import sys
from pathlib import Path

from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.core.errors import ThermogateError, UnavailableError


def count(data_dir: Path) -> int:
    """Messages in the spools below `data_dir`. Raises UnavailableError while an agent runs on one."""
    total = 0
    for folder in sorted((data_dir / "spool").glob("*/")):
        with Spool(folder, SpoolSettings()) as spool:
            total += spool.depth
    return total


def count_as_owner(data_dir: Path) -> int:
    """The same for root, with the rights of the folder's owner. Raises UnavailableError."""
    if not (data_dir / "spool").is_dir():
        return 0
    owner = (data_dir / "spool").stat(follow_symlinks=False)
    root = os.geteuid() == 0
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(data_dir)],
        user=owner.st_uid if root else None,
        group=owner.st_gid if root else None,
        extra_groups=[] if root else None,
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(f"{data_dir}: cannot count what is not stored yet: {done.stderr.strip()}")
    return int(done.stdout)


if __name__ == "__main__":
    try:
        print(count(Path(sys.argv[1])))
    except ThermogateError as err:
        sys.exit(str(err))
