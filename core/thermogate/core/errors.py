"""Errors, named by what the caller does next."""

from typing import Literal


class ThermogateError(Exception):
    """Base of every error that thermogate raises on purpose; its text is for a person."""


class ConfigError(ThermogateError):
    """A setting, an argument or an input file is wrong. Fix it and start again: exit 78."""


class SourceError(ThermogateError):
    """A sensor did not answer. Its fields stay absent; ask again at the next tick."""


class WireError(ThermogateError):
    """A message is not what its topic says. Quarantine it; never store it."""


class StoreError(ThermogateError):
    """The store did not take a batch. Do not acknowledge it; try again."""


class RejectedError(StoreError):
    """The store answered that it will never take these bytes. Quarantine them; do not retry.

    `stored` says whether the rest of the batch was stored all the same, as InfluxDB does.
    """

    def __init__(self, text: str, *, stored: bool) -> None:
        super().__init__(text)
        self.stored = stored


class NotConnectedError(ThermogateError):
    """There is no connection to the broker now. Keep what you have and send it later."""


class UnavailableError(ThermogateError):
    """Something outside (a port, a folder, a server) cannot be used now: exit 1."""


Refusal = Literal[
    "unsigned",
    "malformed",
    "foreign",
    "ended",
    "purpose",
    "forged",
    "replayed",
    "expired",
    "future",
    "misplaced",
]
"""Why a message is not obeyed: no signature; written in a way that could hide something; by a key that is
not trusted; no longer; not for this kind of message; changed since it was signed; older than one that was
obeyed; past its end; from the future; of another target than its topic's."""


class SignatureError(WireError):
    """A message that must not be obeyed: it is not from whom it should be, not for here, or not for now."""

    def __init__(self, reason: Refusal, text: str) -> None:
        super().__init__(text)
        self.reason: Refusal = reason
