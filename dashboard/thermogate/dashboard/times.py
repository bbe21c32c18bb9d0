"""Times and durations as people write them, to and from UTC nanoseconds."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError

END_OF_TIME_NS = 2**62
"""February 2116: past every sample, and within what every store takes for a time."""

MOST_NS = 2**63 - 1
"""What a store can be asked for: April 2262."""

_UNITS_NS = {"ms": NS // 1000, "s": NS, "m": 60 * NS, "h": 3600 * NS, "d": 86_400 * NS, "w": 604_800 * NS}
_DURATION_RE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d|w)", re.ASCII)
_UNIX_RE = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?", re.ASCII)
_UNIX_NS_RE = re.compile(r"[0-9]{16,19}", re.ASCII)
_RFC3339_RE = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>[Zz]|[+-][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def parse_time(text: str, now_ns: int) -> int:
    """UTC nanoseconds of "2025-11-21T08:00:00Z", "1763712000.5" (Unix seconds), "-15m", "15m" or "now".

    "15m" and "-15m" are both a quarter of an hour before `now_ns`. A date without a zone is UTC.
    A whole number of 16 digits or more is in nanoseconds already, as programs have it.
    What lies before 1970 or after April 2262 is that instant. Raises ConfigError that says what was expected.
    """
    return min(max(0, _parsed(text.strip(), now_ns)), MOST_NS)


def _parsed(text: str, now_ns: int) -> int:
    if text == "now":
        return now_ns
    if _UNIX_RE.fullmatch(text):
        return int(Decimal(text) * NS)
    if _UNIX_NS_RE.fullmatch(text):
        return int(text)
    if _DURATION_RE.fullmatch(text.removeprefix("-")):
        return now_ns - parse_duration(text.removeprefix("-"))
    return _parse_rfc3339(text)


def parse_duration(text: str) -> int:
    """Nanoseconds of "500ms", "5s", "15m", "6h", "2d", "1w" or plain seconds. Raises ConfigError."""
    match = _DURATION_RE.fullmatch(text.strip())
    if match:
        return int(Decimal(match[1]) * _UNITS_NS[match[2]])
    if _UNIX_RE.fullmatch(text.strip()):
        return int(Decimal(text.strip()) * NS)
    raise ConfigError(f"{text[:80]!r} is not a duration: expected a number and a unit, such as 5s, 15m or 6h")


def format_time(time_ns: int) -> str:
    """RFC 3339 in UTC with all nine digits: "2025-11-21T08:00:00.000000000Z"."""
    seconds, rest = divmod(time_ns, NS)
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def format_clock(time_ns: int, now_ns: int) -> str:
    """For a sentence: "08:00:00 UTC", with the date in front when it is not today's."""
    moment = _EPOCH + timedelta(seconds=time_ns // NS)
    today = (_EPOCH + timedelta(seconds=now_ns // NS)).date()
    return f"{moment:%H:%M:%S} UTC" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _parse_rfc3339(text: str) -> int:
    match = _RFC3339_RE.fullmatch(text)
    moment = _moment(match) if match else None
    if match is None or moment is None:
        raise ConfigError(
            f"{text[:80]!r} is not a time: expected RFC 3339 (2025-11-21T08:00:00Z), Unix seconds,"
            " a time ago (15m, 6h, 2d) or now"
        )
    fraction = (match["fraction"] or "").ljust(9, "0")
    return (moment - _EPOCH) // _SECOND * NS + int(fraction)


def _moment(match: re.Match[str]) -> datetime | None:
    """To the second; None when there is no such day or hour."""
    zone = (match["zone"] or "Z").upper().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(f"{match['day']}T{match['clock'] or '00:00'}{zone}")
    except ValueError:
        return None
