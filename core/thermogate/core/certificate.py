"""What a certificate file says of its owner and its time.

The standard library tells this only of a peer's certificate, and no library that does is light enough
for a node. The few fields that are needed stand at fixed places (RFC 5280, section 4.1).
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from thermogate.core.errors import ConfigError

_VERSION, _UTC_TIME = 0xA0, 0x17
_COMMON_NAME = bytes.fromhex("0603550403")
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

_Element = tuple[int, bytes]
"""Tag and content of a DER element."""


class Certificate(msgspec.Struct, frozen=True):
    """The owner's common name ("" without one) and the time between which it is valid."""

    name: str
    not_before: datetime
    not_after: datetime


def read(file: str) -> Certificate:
    """The first certificate in a PEM file. Raises ConfigError that names the file."""
    try:
        text = Path(file).read_text(encoding="ascii", errors="replace")
        begin = text.index(_BEGIN)
        return parse(ssl.PEM_cert_to_DER_cert(text[begin : text.index(_END, begin) + len(_END)]))
    except OSError as err:
        raise ConfigError(f"{file}: cannot be read: {err.strerror}") from err
    except (ValueError, LookupError) as err:
        raise ConfigError(f"{file}: holds no whole certificate in PEM") from err


def parse(der: bytes) -> Certificate:
    """The certificate in these bytes. Raises ValueError or LookupError where it is none."""
    ((_, certificate),) = _elements(der)
    fields = _elements(_elements(certificate)[0][1])
    if fields[0][0] == _VERSION:
        del fields[0]
    _serial, _algorithm, _issuer, validity, subject = fields[:5]
    begin, end = (_time(element) for element in _elements(validity[1]))
    return Certificate(_common_name(subject[1]), begin, end)


def _elements(data: bytes) -> list[_Element]:
    """The elements that lie one behind the other in `data`."""
    found: list[_Element] = []
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:  # the length itself is this many bytes long
            width = size & 0x7F
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        if at + size > len(data):
            raise ValueError("cut off")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _time(element: _Element) -> datetime:
    tag, text = element[0], element[1].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 50 and above are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)


def _common_name(subject: bytes) -> str:
    for _, names in _elements(subject):
        for _, pair in _elements(names):
            if pair.startswith(_COMMON_NAME):
                return _elements(pair)[1][1].decode("utf-8", errors="replace")
    return ""
