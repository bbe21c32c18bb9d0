"""What is healthy for each device, over restarts: a sick one must not become its own measure."""

import logging
import os
from pathlib import Path

import msgspec

from thermogate.analytics.signals import NodeState

log = logging.getLogger(__name__)

EVERY_S = 300.0
"""Between two saves: what is learned since is little."""

Baselines = dict[str, NodeState]
"""By node."""


def load(file: Path) -> Baselines:
    """Those of the file; none when there is none, or it cannot be read, which is told."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Baselines)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as err:
        log.warning("%s: what is healthy is learned anew: %s", file, err)
        return {}


def save(file: Path, baselines: Baselines) -> None:
    """Whole or not at all. What the disk does not take is told, and kept in memory until the next time."""
    new = file.with_name(f".{file.name}.new")
    try:
        with new.open("wb") as out:
            out.write(msgspec.json.encode(baselines))
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as err:
        log.warning("%s: what is healthy was not saved: %s", file, err)
