"""What a refusal of InfluxDB means: to whom it matters, and whether to try again."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from thermogate.collector.config import InfluxSettings
from thermogate.collector.store.base import ThrottledError
from thermogate.core.errors import RejectedError, StoreError

_TEXT_LIMIT = 300
_BAD_LINES = 3
"""Named of those that a 3.x server refused; it lists all of them."""
_FINAL = (400, 413, 422)
"""Malformed or past retention, too large, unprocessable."""
_PARTIAL = "partial write"
_PLACE = re.compile(
    r"(?i)database name|database .*(not found|deleted|does not exist)|retention policy not found"
)
"""Of the place and not of the bytes, whatever the status."""
_MISSING = re.compile(
    r"(?i)(database|bucket|retention policy|mapping).*(not found|not exist)|no dbrp mapping|unable to find"
)
SETUP = "thermogate collector setup"


def write_refusal(
    settings: InfluxSettings,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime | None = None,
) -> StoreError:
    """The error of a write that was not taken.

    Only what the server says of the bytes themselves is final; the rest may be mended there. A 3.x
    server answers 500 to a partial write at its 2.x endpoint.
    """
    text = error_text(body)
    said = f"{settings.url}: {status} {text}"
    partial = _PARTIAL in text
    if (status in _FINAL and not _PLACE.search(text)) or (status == 500 and partial):
        return RejectedError(said, stored=partial)
    wait_s = retry_after_s(headers.get("Retry-After", ""), now or datetime.now(UTC))
    if status in (429, 503) and wait_s is not None:
        return ThrottledError(said, retry_after_s=wait_s)
    return refusal(settings, status, text)


def refusal(settings: InfluxSettings, status: int, text: str) -> StoreError:
    """The error of any other request, with what to look at."""
    said = f"{settings.url}: {status} {text}".rstrip()
    if status in (401, 403):
        return StoreError(f"{said} ({_credential(settings)})")
    if missing(text):
        return StoreError(f"{said} (run: {SETUP})")
    return StoreError(said)


def missing(text: str) -> bool:
    """Whether an error says that a database, bucket or retention policy is not there."""
    return _MISSING.search(text) is not None


def error_text(body: bytes) -> str:
    """What the server says: "error" of 1.x and, with the bad lines, 3.x, "message" of 2.x, or plain text."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return body.decode(errors="replace").strip()[:_TEXT_LIMIT]
    text = str(said.get("error") or said.get("message") or said)
    return (text + _bad_lines(said.get("data")))[:_TEXT_LIMIT]


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds of a Retry-After, which is a number of them or a date; None when it is neither."""
    if value.strip().isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())


def _bad_lines(data: Any) -> str:
    lines = data if isinstance(data, list) else [data] if isinstance(data, dict) else []
    told = [
        f"line {one.get('line_number')}: {one.get('error_message')}" for one in lines if isinstance(one, dict)
    ]
    more = f" and {len(told) - _BAD_LINES} more" if len(told) > _BAD_LINES else ""
    return ": " + "; ".join(told[:_BAD_LINES]) + more if told else ""


def _credential(settings: InfluxSettings) -> str:
    """Which one the server does not accept."""
    if settings.token_file:
        return f"refused: the token in collector.influx.token_file {settings.token_file}"
    if settings.username:
        file = settings.password_file
        return f"refused: user {settings.username!r} with collector.influx.password_file {file}"
    return "it wants collector.influx.token_file, or with 1.x username and password_file"
