"""Settings of the audit log."""

from thermogate.analytics.config.kinds import Count
from thermogate.core.config import Settings


class AuditSettings(Settings, frozen=True):
    """The log of every decision with what it was made of, `<data_dir>/audit/` (docs/audit.md)."""

    segment_mb: Count = 16
    """Size of a file: a restart reads the last one, in a tenth of a second. Every day begins another."""
    keep_days: Count = 90
    """Files whose records are all older go: a quarter of a year, in which incidents are looked into."""
    keep_mb: Count = 4096
    """The oldest files go beyond this: some 700,000 decisions, or 500 days of a held node with 8 GPUs.
    Never more than two at a time: a clock that is set wrong by a year must not take the log with it."""
