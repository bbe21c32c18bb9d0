"""Settings of the spool."""

from typing import Annotated

import msgspec

from thermogate.core.config import Settings


class SpoolSettings(Settings, frozen=True):
    """How much the spool keeps. What is over is dropped, oldest first, counted and reported."""

    max_bytes: Annotated[int, msgspec.Meta(ge=256 * 1024)] = 256 * 1024 * 1024
    """A day of a node with 8 GPUs at 1 Hz, every field there, is about 120 MiB."""
    max_age_s: Annotated[float, msgspec.Meta(gt=0)] = 7 * 86400.0
    """A week: a longer outage is not waited for, and older samples mean little to a gate."""
    fsync_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Longest time between two fdatasync; 0 leaves it to the kernel, about 30 s.

    A killed process loses nothing either way. A power cut loses what was not synchronised and not
    yet stored, which is little, as live samples are sent at once; and a busy disk can take seconds
    to synchronise, during which the agent stands still.
    """
    memory_records: Annotated[int, msgspec.Meta(ge=1)] = 600
    """Records kept in memory while the disk takes none: 10 minutes at 1 Hz, about 1 MB."""
