"""Small audit logs for tests."""

import json
import os
from pathlib import Path

from msgspec.structs import replace

from tests.fakes import FakeClock
from tests.signed import DECISION, KEY, TRUSTED
from thermogate.analytics.audit import AuditLog, Reader, Record
from thermogate.analytics.audit.records import input_digest
from thermogate.analytics.config import AuditSettings
from thermogate.core.signing import SigningKey, TrustedKeys


def entry(number: int, key: SigningKey = KEY, size: int = 0) -> tuple[bytes, bytes]:
    """A decision and its inputs; `size` random bytes of inputs do not compress."""
    inputs = json.dumps({"number": number, "noise": os.urandom(size // 2).hex()}).encode()
    decision = replace(DECISION, seq=number, id=f"{number:026d}", inputs=input_digest(inputs))
    return key.seal(decision)[1], inputs


def log_at(
    folder: Path, clock: FakeClock | None = None, key: SigningKey = KEY, trusted=TRUSTED, **settings
) -> AuditLog:
    return AuditLog(folder, key, AuditSettings(**settings), trusted=trusted, clock=clock or FakeClock())


def filled(folder: Path, count: int = 4, **settings: int) -> Path:
    with log_at(folder, **settings) as log:
        log.append([entry(number) for number in range(1, count)])
        log.append([entry(count)])
    return folder


def read(folder: Path, trusted: TrustedKeys = TRUSTED) -> tuple[list[Record], list[str], list[str]]:
    """Records, findings and notes."""
    reader = Reader(folder, trusted)
    records = list(reader.records())
    return records, [finding.text for finding in reader.findings], [text for _, text in reader.notes]
