"""The open spans of jobs on disk, so that a restart neither splits nor forgets one."""

import logging
import os
from pathlib import Path

import msgspec

from thermogate.agent.job_spans import OpenSpan
from thermogate.core.model import Event

log = logging.getLogger(__name__)

VERSION = 1
_MAX_BYTES = 4 * 1024 * 1024
"""Far above 8 GPUs with `max_jobs` each."""


class Kept(msgspec.Struct, frozen=True):
    """What one run of the agent leaves to the next.

    `steady_s` is the steady clock of that boot. `unsaid` are events that may not have reached the
    spool; saying them again is harmless, because an event is stored once.
    """

    boot: str
    steady_s: float
    spans: list[OpenSpan]
    unsaid: list[Event]
    version: int = VERSION


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def load(file: Path) -> Kept | None:
    """What was saved; None when there is nothing, or (with a warning) nothing that can be used."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES)
        version = msgspec.json.decode(data, type=_Versioned).version
        if version != VERSION:
            log.warning("%s has format %d and this agent knows %d: jobs begin afresh", file, version, VERSION)
            return None
        return msgspec.json.decode(data, type=Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        log.warning("%s cannot be used, jobs begin afresh: %s", file, err)
        return None


def save(file: Path, kept: Kept) -> None:
    """Replace the file, whole or not at all, whatever stops. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    with new.open("wb") as opened:
        opened.write(msgspec.json.encode(kept))
        opened.flush()
        os.fsync(opened.fileno())  # some file systems rename before they write
    new.replace(file)
