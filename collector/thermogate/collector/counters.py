"""What the collector has done since it started, as numbers for the page and for self-statistics."""

import msgspec


class Counters(msgspec.Struct):
    """Counts since the start. A message that comes again is counted again."""

    messages: int = 0
    """Received and not empty."""
    samples: int = 0
    """Lines of telemetry that the store has taken."""
    events: int = 0
    decisions: int = 0
    statuses: int = 0
    batches: int = 0
    """Writes that the store has taken."""
    store_errors: int = 0
    """Writes that failed and were tried again."""
    quarantined: int = 0
    """Messages set aside with their reason."""
    quarantine_errors: int = 0
    """Messages that could not be set aside; their nodes keep them."""
    quarantine_dropped: int = 0
    """Messages that went from the quarantine because it was full."""
    acks: int = 0
    """Acknowledgements that the broker has taken."""

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return msgspec.structs.asdict(self)
