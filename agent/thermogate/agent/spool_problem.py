"""What is wrong with the disk, said once when it begins and once when it is over."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)

_OVER_S = 60.0
"""A disk that works for so long is well again: one that is nearly full changes its mind every second."""


class Problem:
    """The disk does not do as the spool in `directory` wants. Times are of the steady clock."""

    def __init__(self, directory: Path) -> None:
        self.text = ""
        """One sentence about the last call; "" when all is well."""
        self._directory = directory
        self._said = False
        self._last_s = 0.0

    def refused(self, err: OSError, now_s: float) -> None:
        """It takes no records."""
        self._say("takes no records, which wait in memory", err, now_s)

    def kept(self, err: OSError, now_s: float) -> None:
        """It does not let go of a file."""
        if not self.text:  # the other one is worse
            self._say("cannot delete what is stored or too old", err, now_s)

    def over(self, now_s: float) -> None:
        """It does as it should."""
        self.text = ""
        if self._said and now_s - self._last_s >= _OVER_S:
            self._said = False
            log.info("spool %s: takes records again", self._directory)

    def _say(self, what: str, err: OSError, now_s: float) -> None:
        self._last_s = now_s
        self.text = f"the spool {self._directory} {what}: {err.strerror}"
        if not self._said:
            self._said = True
            log.warning("spool %s %s: %s", self._directory, what, err.strerror)
