"""The wire: topics, the telemetry payload and the JSON messages.

A telemetry payload is one comment line and then InfluxDB line protocol, ready to be stored as it
is. The dialect is strict, so that one regular expression decides whether a payload is sound: tags
`node`, `device`, `model`, `origin` in this order, names of [A-Za-z0-9._-], finite numbers only.
"""

import functools
import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from thermogate.core.errors import WireError
from thermogate.core.model import Origin
from thermogate.core.schema import INTEGER_FIELDS, SAMPLED_KINDS, VERSION

ROOT = "thermogate/v1"
MAX_PAYLOAD_BYTES = 64 * 1024
"""About 8 times what a node with 8 GPUs sends in a second."""
_MAX_LINES_BYTES = MAX_PAYLOAD_BYTES - 256
"""The header takes less than the rest."""

_NAME = r"(?!\.\.?(?![A-Za-z0-9._-]))[A-Za-z0-9._-]{1,128}"
"""Not "." and "..": a node's spool is a folder of its name."""
_NAME_RE = re.compile(_NAME)
_LARGEST_INT = 10**18
_LARGEST = 1e308
"""Numbers are below this, so that none on the wire reads as infinite."""
_EXPONENT = rb"e(?:-[0-9]{1,3}|\+?(?:[12][0-9]{2}|30[0-7]|[0-9]{1,2}))"
# ++ and ?+ never go back, which takes a third of the time away; so the longest has to stand first
_NUMBER = (
    rb"-?(?:[0-9]{1,18}+(?:\.[0-9]{1,20}+(?!e)|i|(?![.e]))|[0-9](?:\.[0-9]{1,20}+)?+" + _EXPONENT + rb")"
)
# the store has columns of these names
_FIELD = rb"(?!(?:node|device|model|origin|time|time_ns)=)[a-z][a-z0-9_]{0,63}+=" + _NUMBER
_HEADER = (
    rb"# " + VERSION.encode() + rb" node=(" + _NAME.encode() + rb") spool=([0-9a-f]{1,32})"
    rb" seq=([0-9]{1,18})( ack)?\n"
)
_LINE = (
    rb"(?:" + "|".join(SAMPLED_KINDS).encode() + rb"),node=%b"
    rb"(?:,device=[A-Za-z0-9._-]{1,128}+)?(?:,model=[A-Za-z0-9._-]{1,128}+)?(?:,origin=(?:replay|simulated))?"
    rb" " + _FIELD + rb"(?:," + _FIELD + rb")*+ (?:[0-9]{1,18}|[1-8][0-9]{18})\n"
)
_HEADER_RE = re.compile(_HEADER)
_PAYLOAD_RE = re.compile(_HEADER + rb"(?:" + _LINE % rb"\1" + rb")++")
"""The node of every line is that of the header."""

T = TypeVar("T")


class Header(msgspec.Struct, frozen=True, gc=False):
    """First line of a telemetry payload. `ack` asks for a prompt acknowledgement."""

    node: str
    spool: str
    seq: int
    ack: bool


class Point(msgspec.Struct, frozen=True):
    """One line of telemetry, parsed. `device`, `model` and `origin` are empty when not tagged."""

    measurement: str
    node: str
    device: str
    model: str
    origin: str
    fields: dict[str, float]
    time_ns: int


def is_name(text: str) -> bool:
    """Whether `text` may stand as one topic level or tag value."""
    return _NAME_RE.fullmatch(text) is not None


def to_name(text: str) -> str:
    """`text` made fit for a topic level or tag value: other characters become "-"."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")[:128]
    return name if is_name(name) else "unknown"


def node_topic(node: str, leaf: str) -> str:
    """`leaf` is telemetry, event, status or ack; `node` may be the wildcard "+"."""
    return f"{ROOT}/node/{node}/{leaf}"


def gate_topic(kind: str, target: str) -> str:
    """Where decisions about a target are retained; both may be the wildcard "+"."""
    return f"{ROOT}/gate/{kind}/{target}"


def override_topic(kind: str, target: str) -> str:
    """Where an operator's word about a target is retained; both may be the wildcard "+"."""
    return f"{ROOT}/override/{kind}/{target}"


def applied_topic(kind: str, target: str) -> str:
    """Where schedulers say what they did about a decision; both may be the wildcard "+"."""
    return f"{ROOT}/applied/{kind}/{target}"


def request_topic(kind: str, target: str) -> str:
    """Where jobs and trials report and ask; both may be the wildcard "+"."""
    return f"{ROOT}/request/{kind}/{target}"


def signal_topic(kind: str, target: str) -> str:
    """Where the regulator's signals of a target are told; both may be the wildcard "+"."""
    return f"{ROOT}/signal/{kind}/{target}"


@functools.lru_cache(maxsize=1 << 16)  # a fleet's topics come again every second
def split_topic(topic: str) -> tuple[str, str, str]:
    """(family, name, leaf), such as ("node", "n17", "telemetry") or ("gate", "node", "n17").

    Raises WireError when the topic is not one of ours.
    """
    levels = topic.split("/")
    if len(levels) != 5 or f"{levels[0]}/{levels[1]}" != ROOT or not all(map(is_name, levels[2:])):
        raise WireError(f"topic {topic[:200]!r} is not {ROOT}/FAMILY/NAME/LEAF")
    return levels[2], levels[3], levels[4]


def format_line(
    measurement: str,
    node: str,
    device: str,
    model: str,
    origin: Origin | None,
    fields: Mapping[str, float | int | None],
    time_ns: int,
) -> str:
    """One line, newline included, of the fields that are not None; "" when there are none.

    Raises ValueError on NaN or infinity: a source must leave out what it could not measure.
    """
    parts = []
    for name, value in fields.items():
        if value is None:
            continue
        if name in INTEGER_FIELDS:
            if abs(int(value)) < _LARGEST_INT:  # else "unknown" as all ones, and one such refuses the message
                parts.append(f"{name}={int(value)}i")
        elif -_LARGEST < value < _LARGEST:  # False for NaN
            parts.append(f"{name}={float(value)!r}")
        else:
            raise ValueError(f"{measurement} {device} field {name} is {value}: leave it out instead")
    if not parts:
        return ""
    tags = f",device={device}" if device else ""
    tags += f",model={model}" if model else ""
    tags += f",origin={origin}" if origin else ""
    return f"{measurement},node={node}{tags} {','.join(parts)} {time_ns}\n"


def split_lines(lines: str) -> list[bytes]:
    """The lines in as few parts as there have to be for each to fit a payload; [] when there are none."""
    if len(lines) <= _MAX_LINES_BYTES:  # characters are bytes here
        return [lines.encode()] if lines else []
    parts: list[bytes] = []
    part = bytearray()
    for line in lines.encode().splitlines(keepends=True):
        if part and len(part) + len(line) > _MAX_LINES_BYTES:
            parts.append(bytes(part))
            part.clear()
        part += line
    return [*parts, bytes(part)]


def format_header(node: str, spool: str, seq: int, *, ack: bool = False) -> bytes:
    """The comment line before the lines of a telemetry payload."""
    return f"# {VERSION} node={node} spool={spool} seq={seq}{' ack' if ack else ''}\n".encode()


def check_telemetry(topic_node: str, payload: bytes) -> Header:
    """The header of a payload that is sound to its last byte and speaks of `topic_node` only.

    Raises WireError with the reason and, for a bad line, its number and beginning.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise WireError(f"payload of {len(payload)} bytes is over {MAX_PAYLOAD_BYTES}")
    match = _PAYLOAD_RE.fullmatch(payload)
    header = parse_header(payload) if match is None else _header(match)
    if header.node != topic_node:
        raise WireError(f"header names node {header.node} on the topic of node {topic_node}")
    if match is None:
        raise WireError(_what_is_wrong(header.node, payload))
    return header


def parse_header(payload: bytes) -> Header:
    """Raises WireError when the first line is not a header of this version."""
    match = _HEADER_RE.match(payload)
    if match is None:
        raise WireError(f"first line is no {VERSION} header: {payload[:80]!r}")
    return _header(match)


def parse_points(payload: bytes) -> list[Point]:
    """Every line of a payload that `check_telemetry` has passed; comment lines are skipped."""
    points = []
    for line in payload.decode("ascii").splitlines():
        if line.startswith("#"):
            continue
        key, fields, stamp = line.split(" ")
        measurement, *tags = key.split(",")
        tag = dict(pair.split("=") for pair in tags)
        # an "i" before a comma can only be that of an integer: one split for all is a third cheaper
        flat = fields.replace("i,", ",").removesuffix("i").replace("=", ",").split(",")
        values = dict(zip(flat[::2], map(float, flat[1::2]), strict=True))
        points.append(
            Point(
                measurement,
                tag.get("node", ""),
                tag.get("device", ""),
                tag.get("model", ""),
                tag.get("origin", ""),
                values,
                int(stamp),
            )
        )
    return points


_ENCODER = msgspec.json.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """A JSON message as it goes on the wire."""
    return _ENCODER.encode(message)


def decode(payload: bytes, of: type[T]) -> T:
    """Raises WireError naming the field when the payload is not a message of type `of`."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise WireError(f"payload of {len(payload)} bytes is over {MAX_PAYLOAD_BYTES}")
    try:
        return msgspec.json.decode(payload, type=of)
    except msgspec.MsgspecError as err:
        raise WireError(f"not a valid {of.__name__}: {err}") from err
    except RecursionError as err:
        raise WireError(f"not a valid {of.__name__}: nested too deep") from err
    except UnicodeDecodeError as err:
        raise WireError(f"not a valid {of.__name__}: not UTF-8") from err


def _header(match: re.Match[bytes]) -> Header:
    node, spool, seq, ack = match.groups()
    return Header(node.decode(), spool.decode(), int(seq), ack is not None)


def _what_is_wrong(node: str, payload: bytes) -> str:
    first, *lines = payload.splitlines(keepends=True)
    if not lines:
        return "no line of telemetry after the header"
    one = re.compile(_LINE % re.escape(node.encode()))
    for number, line in enumerate(lines, start=2):
        if not one.fullmatch(line):
            return f"line {number} is not telemetry of node {node}: {line[:120]!r}"
    return f"telemetry has line breaks other than newlines after {first[:80]!r}"
