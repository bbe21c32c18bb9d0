"""What the collector has done since it started, as numbers for the page and for self-statistics."""

import msgspec


class Counters(msgspec.Struct):
    """Counts since the start. A message that comes again is counted again."""

    messages: int = 0
    """Received and not empty."""
    samples: int = 0
    """Lines of telemetry, and of signals, that the store has taken."""
    events: int = 0
    decisions: int = 0
    statuses: int = 0
    batches: int = 0
    """Writes that the store has taken."""
    store_errors: int = 0
    """Writes that failed and were tried again."""
    unsettled: int = 0
    """Messages that a store may have lost in a crash after it had taken them; they were written again."""
    quarantined: int = 0
    """Messages set aside with their reason."""
    throttled: int = 0
    """Messages dropped because their node sends too many; it sends them again."""
    quarantine_errors: int = 0
    """Messages that could not be set aside; their nodes keep them."""
    withheld: int = 0
    """Refused messages beyond their node's share of the quarantine; their nodes keep them."""
    requeued: int = 0
    """Messages stored that were in quarantine before."""
    flooding: int = 0
    """Nodes that send too many messages now."""
    quarantine_dropped: int = 0
    """Messages that went from the quarantine because it was full."""
    rolled_up: int = 0
    """Windows of a minute or an hour made or made anew."""
    rollup_errors: int = 0
    """Times that the store did not roll up; it is tried again."""
    rollup_waiting: int = 0
    """Windows that late samples have come for and that are not made anew yet."""
    acks: int = 0
    """Acknowledgements that the broker has taken."""

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return msgspec.structs.asdict(self)
