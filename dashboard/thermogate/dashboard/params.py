"""Query parameters of a request, checked: a wrong one is named, with what was expected."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from thermogate.core.errors import ConfigError
from thermogate.core.wire import is_name
from thermogate.dashboard.times import parse_duration, parse_time

T = TypeVar("T", bound=str)

_MOST_TEXT = 200
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_GLOB_RE = re.compile(r"[A-Za-z0-9._*?-]{1,128}", re.ASCII)

ParameterType = Literal["text", "name", "glob", "time", "duration", "integer", "choice", "boolean", "cursor"]


class Parameter(msgspec.Struct, frozen=True):
    """One query parameter. `default` is the text that stands for it when it is not given; None: none.

    A whole number is at least 1 and at most `most`.
    """

    name: str
    type: ParameterType
    what: str
    default: str | None = None
    required: bool = False
    options: tuple[str, ...] = ()
    most: int = 0


class Params:
    """Reads `given`, which may hold no other name than those `known`. Everything raises ConfigError."""

    def __init__(self, given: Mapping[str, str], known: Sequence[Parameter], now_ns: int) -> None:
        self._given = given
        self._known = {parameter.name: parameter for parameter in known}
        self._now_ns = now_ns
        for name in given:
            if name not in self._known:
                names = ", ".join(self._known)
                expected = f"expected one of {names}" if known else "this path takes none"
                raise ConfigError(f"{name[:80]}: no such parameter: {expected}")

    def given(self, *names: str) -> bool:
        """Whether any of these was in the request."""
        return any(name in self._given for name in names)

    def required(self, name: str) -> str:
        """The text of a parameter that must be there."""
        text = self._given.get(name, "")
        if not text:
            raise ConfigError(f"{name}: missing")
        return text

    def text(self, name: str) -> str | None:
        """Any text, such as the name of a job, None when not given."""
        text = self._text(name)
        if text is not None and not 1 <= len(text) <= _MOST_TEXT:
            raise ConfigError(f"{name}: expected 1 to {_MOST_TEXT} characters, not {len(text)}")
        return text

    def name(self, name: str) -> str | None:
        """A node or target, None when not given."""
        text = self._text(name)
        if text is not None and not is_name(text):
            raise ConfigError(f"{name}: expected 1 to 128 of A-Z a-z 0-9 . _ -, not {text[:80]!r}")
        return text

    def cursor(self) -> str | None:
        """What an answer gave as its next, checked where it is read; None for the first page."""
        return self._text("cursor")

    def glob(self, name: str) -> str | None:
        """A name in which * stands for any characters and ? for one, None when not given."""
        text = self._text(name)
        if text is not None and not _GLOB_RE.fullmatch(text):
            raise ConfigError(
                f"{name}: expected a name, with * for any characters and ? for one, not {text[:80]!r}"
            )
        return text

    def time(self, name: str) -> int:
        """UTC nanoseconds."""
        try:
            return parse_time(self._text(name) or "", self._now_ns)
        except ConfigError as err:
            raise ConfigError(f"{name}: {err}") from None

    def duration(self, name: str) -> int | None:
        """Nanoseconds, None when not given."""
        text = self._text(name)
        if text is None:
            return None
        try:
            return parse_duration(text)
        except ConfigError as err:
            raise ConfigError(f"{name}: {err}") from None

    def integer(self, name: str) -> int | None:
        """A whole number from 1 on, None when not given and without a default."""
        text, most = self._text(name), self._known[name].most
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= most):
            raise ConfigError(f"{name}: expected a whole number from 1 to {most}, not {text[:80]!r}")
        return int(text)

    def choice(self, name: str, options: Sequence[T]) -> T | None:
        """One of `options`, None when not given and without a default."""
        text = self._text(name)
        if text is None:
            return None
        for option in options:
            if text == option:
                return option
        raise ConfigError(f"{name}: expected {' or '.join(options)}, not {text[:80]!r}")

    def boolean(self, name: str) -> bool:
        """True or false, 1 or 0."""
        text = (self._text(name) or "false").lower()
        if text not in _BOOLEANS:
            raise ConfigError(f"{name}: expected true or false, not {text[:80]!r}")
        return _BOOLEANS[text]

    def _text(self, name: str) -> str | None:
        return self._given.get(name, self._known[name].default)
