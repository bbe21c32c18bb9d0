"""Bounds of the health policy, their units and their reasons."""

from thermogate.analytics.config.kinds import NotNegative, Positive, Share
from thermogate.core.config import Settings


class HealthSettings(Settings, frozen=True):
    """Bounds of the regulator's signals. docs/signals.md says how they were chosen, and from what."""

    overload_bound: Positive = 2.0
    """HOLD above this overload (Omega). The published 0.30 is passed a quarter of the time by healthy
    training, which never passes 1.5; laptops at their limit are above this nearly always."""
    overload_release: Positive = 1.0
    """Released at this or less: what healthy training passes in 0.2 % of its time."""
    overload_for_s: NotNegative = 60.0
    """Above the bound for this long on end: two fast windows, so that one jump of the load is not enough."""
    overload_release_s: Positive = 300.0
    """Below the release bound for this long on end: several time constants of a heat sink."""
    overload_pace: Share = 0.8
    """Share of full power that a node in overload keeps to: a fifth less heat for much less than a fifth of
    the speed."""

    incoherence_bound: Positive = 0.20
    """SYNC above this pacing incoherence (PCS). No healthy job passes it, and it sees stragglers that the
    published 0.25 does not."""
    incoherence_release: Positive = 0.12
    """Released at this or less: the most that healthy training shows."""
    incoherence_for_s: NotNegative = 60.0
    """Above the bound for this long on end: two fast windows, longer than most checkpoints of one rank."""
    incoherence_release_s: Positive = 120.0
    """Below the release bound for twice as long."""

    severity_bound: Positive = 0.40
    """REPAIR above this repair severity (RSI): the published bound."""
    severity_release: Positive = 0.25
    """Released at this or less: a fifth hotter than it was is still weather."""
    severity_for_s: NotNegative = 600.0
    """Above the bound for this long on end. Severity is slow by itself; this is for a person's peace of
    mind."""
    severity_release_s: Positive = 600.0
    """Below the release bound for as long."""
    severity_stale_s: Positive = 86_400.0
    """Let go after so long without a severity, as after the loss of the baseline: somebody has had a day
    to look."""

    gap_s: Positive = 30.0
    """A signal that was not there for longer than this begins its time on end anew."""
    stale_s: Positive = 120.0
    """A HOLD or SYNC lets go after so long without its signal: a job that has ended is in step with
    nobody."""

    def __post_init__(self) -> None:
        for rule in ("overload", "incoherence", "severity"):
            if getattr(self, f"{rule}_release") >= getattr(self, f"{rule}_bound"):
                raise ValueError(f"{rule}_release must be less than {rule}_bound")
