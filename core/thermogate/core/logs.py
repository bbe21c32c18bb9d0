"""Logging: the standard library, one line for a person for each change of state."""

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def setup(level: str = "INFO", *, journal: bool = False) -> None:
    """Log to standard error; under systemd without the time, which the journal keeps itself."""
    logging.basicConfig(
        level=level,
        stream=sys.stderr,
        format=_FORMAT.removeprefix("%(asctime)s ") if journal else _FORMAT,
        force=True,
    )
