"""Query parameters of a request, checked: a wrong one is named, with what was expected."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from thermogate.core.errors import ConfigError
from thermogate.core.wire import is_name
from thermogate.dashboard.times import parse_duration, parse_time

T = TypeVar("T", bound=str)

_MOST_TEXT = 200
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Params:
    """Reads `given`, which may hold no other name than those `known`. Everything raises ConfigError."""

    def __init__(self, given: Mapping[str, str], known: Sequence[str], now_ns: int) -> None:
        self._given = given
        self._now_ns = now_ns
        for name in given:
            if name not in known:
                expected = f"expected one of {', '.join(known)}" if known else "this path takes none"
                raise ConfigError(f"{name[:80]}: no such parameter: {expected}")

    def required(self, name: str) -> str:
        """The text of a parameter that must be there."""
        text = self._given.get(name, "")
        if not text:
            raise ConfigError(f"{name}: missing")
        return text

    def text(self, name: str) -> str | None:
        """Any text, such as the name of a job, None when not given."""
        text = self._given.get(name)
        if text is not None and not 1 <= len(text) <= _MOST_TEXT:
            raise ConfigError(f"{name}: expected 1 to {_MOST_TEXT} characters, not {len(text)}")
        return text

    def name(self, name: str) -> str | None:
        """A node or target, None when not given."""
        text = self._given.get(name)
        if text is not None and not is_name(text):
            raise ConfigError(f"{name}: expected 1 to 128 of A-Z a-z 0-9 . _ -, not {text[:80]!r}")
        return text

    def time(self, name: str, default: str) -> int:
        """UTC nanoseconds."""
        try:
            return parse_time(self._given.get(name, default), self._now_ns)
        except ConfigError as err:
            raise ConfigError(f"{name}: {err}") from None

    def duration(self, name: str) -> int | None:
        """Nanoseconds, None when not given."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            return parse_duration(text)
        except ConfigError as err:
            raise ConfigError(f"{name}: {err}") from None

    def integer(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        text = self._given.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
            raise ConfigError(f"{name}: expected a whole number from 1 to {most}, not {text[:80]!r}")
        return int(text)

    def choice(self, name: str, options: Sequence[T], default: T) -> T:
        """One of `options`."""
        text = self._given.get(name, default)
        for option in options:
            if text == option:
                return option
        raise ConfigError(f"{name}: expected {' or '.join(options)}, not {text[:80]!r}")

    def boolean(self, name: str, *, default: bool) -> bool:
        """True or false, 1 or 0."""
        text = self._given.get(name, str(default)).lower()
        if text not in _BOOLEANS:
            raise ConfigError(f"{name}: expected true or false, not {text[:80]!r}")
        return _BOOLEANS[text]
