"""A record of the audit log: one line of JSON that ends with the hash of all before it. Pure."""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Iterable

import msgspec

from thermogate.core.decision import GateDecision
from thermogate.core.errors import WireError
from thermogate.core.schema import VERSION
from thermogate.core.wire import decode

GENESIS = "0" * 64
"""What the first record names as the hash before it."""
MOST_INPUTS_BYTES = 64 << 20
"""No decision is made of more; a record that unpacks to more is damaged, or made to hurt."""
_ZLIB_LEVEL = 3
"""A third of the time of the usual 6, for a tenth more bytes."""
_HASH = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_HASH_BYTES = len(b',"hash":""}') + 64

Entry = tuple[bytes, bytes]
"""A decision's payload as published, and its inputs."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. `before` is the hash of the record before; `hash` stands last and is that of the rest.

    A decision as published, with its inputs (zlib, base64); or a `note` of what the log itself went through;
    or an `alarm`: something was found that nobody but a person can explain.
    """

    n: int
    time_ns: int
    before: str
    decision: str = ""
    inputs: str = ""
    note: str = ""
    alarm: str = ""
    hash: str = ""

    @property
    def gate_decision(self) -> GateDecision:
        """The decision of the record. Raises WireError."""
        return decode(self.decision.encode(), GateDecision)

    def unpacked(self) -> bytes:
        """The inputs. Raises WireError when they are damaged."""
        try:
            packed = base64.b64decode(self.inputs, validate=True)
            unpack = zlib.decompressobj()
            inputs = unpack.decompress(packed, MOST_INPUTS_BYTES)
        except (binascii.Error, ValueError, zlib.error) as err:
            raise WireError(f"inputs cannot be unpacked: {err}") from err
        if not unpack.eof or unpack.unused_data:
            raise WireError("inputs are cut off, too large, or followed by something")
        return inputs


class AuditHead(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Signed, in `head.json`: the log ends with `n`, and begins with `first_n` after `first_before`."""

    n: int
    hash: str
    first_n: int
    first_before: str
    time_ns: int
    schema: str = VERSION
    issuer: str = ""
    signature: str = ""


def seal(record: Record) -> tuple[Record, bytes]:
    """`record` with its hash, which is computed here, and its line."""
    body = msgspec.json.encode(msgspec.structs.replace(record, hash=""))
    digest = hashlib.sha256(body).hexdigest()
    return msgspec.structs.replace(record, hash=digest), body[:-1] + b',"hash":"' + digest.encode() + b'"}\n'


def of_entry(n: int, time_ns: int, before: str, entry: Entry) -> tuple[Record, bytes]:
    """The record of a decision."""
    payload, inputs = entry
    packed = base64.b64encode(zlib.compress(inputs, _ZLIB_LEVEL)).decode()
    return seal(Record(n=n, time_ns=time_ns, before=before, decision=payload.decode(), inputs=packed))


def parse(line: bytes) -> Record:
    """The record of a line with its newline. Raises WireError when it is not, to the byte, as written."""
    found = _HASH.fullmatch(line[-_HASH_BYTES - 1 : -1])
    if found is None or line[-1:] != b"\n":
        raise WireError("does not end with its hash")
    try:
        record = msgspec.json.decode(line, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        raise WireError(f"is no record: {err}") from err
    if hashlib.sha256(line[: -_HASH_BYTES - 1] + b"}").hexdigest() != record.hash:
        raise WireError("is not what its hash says: it was changed")
    if msgspec.json.encode(record) + b"\n" != line:
        raise WireError("is not written as records are")
    return record


def what_is_wrong_inside(record: Record) -> str:
    """Why the decision of a record and its inputs do not belong together; "" when they do."""
    if not record.decision:
        return ""
    try:
        said = record.gate_decision.inputs
        digest = input_digest(record.unpacked())
    except WireError as err:
        return str(err)
    return (
        "" if said == digest else f"the inputs have the digest {digest}, and the decision names {said[:64]}"
    )


def input_digest(inputs: bytes) -> str:
    """What a decision names as its `inputs`."""
    return hashlib.sha256(inputs).hexdigest()[:32]


def chained(n: int, time_ns: int, before: str, entries: Iterable[Entry]) -> tuple[Record, list[bytes]]:
    """The last record and all lines of `entries`, from number `n` on. At least one entry."""
    lines = []
    record = None
    for entry in entries:
        record, line = of_entry(n, time_ns, before, entry)
        lines.append(line)
        n, before = n + 1, record.hash
    assert record is not None
    return record, lines
