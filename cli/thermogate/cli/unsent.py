"""How much of what was measured here no store has: `python -m thermogate.cli.unsent /var/lib/thermogate`."""

import sys
from pathlib import Path

import msgspec

from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.cli import child
from thermogate.cli.render import plain
from thermogate.core.errors import ThermogateError, UnavailableError
from thermogate.core.wire import to_name

_TIMEOUT_S = 60.0
"""Many times what a full spool on a slow disk takes; a FIFO in its place takes for ever."""
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
        found = _COUNTS.decode(child.ask(__name__, (str(data_dir),), data_dir, timeout_s))
    except TimeoutError as err:
        raise _cannot(data_dir, f"no answer in {timeout_s:g} s; what is in {data_dir}/spool?") from err
    except child.EndedError as err:
        raise _cannot(data_dir, err.said) from err
    except (OSError, msgspec.MsgspecError) as err:
        raise _cannot(data_dir, str(err)) from err
    return {to_name(node): depth for node, depth in found.items()}  # the process is of that user as well


def _cannot(data_dir: Path, why: str) -> UnavailableError:
    """The reason is of that user's making: nothing in it may drive a terminal, nor fill it."""
    lines = why.strip().splitlines() or ["it does not say why"]
    return UnavailableError(
        f"{data_dir}: cannot count what is not stored yet: {plain(lines[-1][:500])}"
        " (--keep-spool and --force do without)"
    )


def main(data_dir: Path, *owner: int) -> None:
    """The counts to standard output as JSON."""
    child.become(*owner)
    try:
        print(msgspec.json.encode(count(data_dir)).decode())
    except (ThermogateError, OSError) as err:
        sys.exit(str(err))
    except MemoryError:
        sys.exit(f"reading it takes more than {child.MEMORY_BYTES // 1024**2} MiB of memory")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
