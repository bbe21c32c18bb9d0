"""Where the gate's keys live, and how they come, change and go: `<data folder>/keys/`."""

import logging
import time
from pathlib import Path

from thermogate.core import key_files
from thermogate.core.errors import ConfigError
from thermogate.core.key_files import Purpose, TrustedKey
from thermogate.core.signing import SigningKey

log = logging.getLogger(__name__)

GATE_KEY = "gate.key"
NEXT_KEY = "gate.key.next"
OPERATOR_KEY = "operator.key"
TRUSTED = "trusted"

_HEADER = [
    "# Whose messages count. NAME PUBLIC_KEY [for=decision|override] [until=TIME]; see docs/signing.md.",
    "# Decisions are the gate's, overrides are operators'. Schedulers need the lines with for=decision.",
]


def ensure_keys(
    folder: Path, key_file: Path | None = None, trusted_file: Path | None = None
) -> tuple[SigningKey, Path]:
    """The gate's key and its file of trusted keys, made at the first start, in `folder`.

    A `key_file` or `trusted_file` of elsewhere must exist, and is not written: the second must have the
    gate's own key, or the gate would take its own audit log for another's. Raises ConfigError for what
    will not do, a revoked key too, and UnavailableError when nothing can be written.
    """
    trusted = trusted_file or folder / TRUSTED
    if key_file is None and not key_files.exists(folder / GATE_KEY):
        SigningKey.generate().save(folder / GATE_KEY)
        log.info("a key to sign decisions with was made: %s", folder / GATE_KEY)
    key = SigningKey.load(key_file or folder / GATE_KEY)
    own = trusted_file is None
    known = (
        {one.key_id: one for one in key_files.read(trusted)} if not own or key_files.exists(trusted) else {}
    )
    entry = known.get(key.key_id)
    if entry is None and not own:
        raise ConfigError(f"{trusted}: lacks the gate's own key: add the line {_entry(key).line}")
    if entry is None:
        line = trust_new(trusted, key, "gate", "decision").line
        log.info("schedulers on other machines need this line in their file of trusted keys: %s", line)
    elif entry.until_ns is not None and entry.until_ns <= time.time_ns():
        raise ConfigError(f"{trusted}: the gate's key {key.key_id} is revoked: `thermogate keys rotate`")
    return key, trusted


def trust_new(trusted: Path, key: SigningKey, name: str, purpose: Purpose) -> TrustedKey:
    """Trust `key` as NAME-ID, so that no two keys have one name."""
    entry = _entry(key, name, purpose)
    add(trusted, entry)
    return entry


def add(trusted: Path, entry: TrustedKey) -> None:
    """Add a line. Raises ConfigError when its name or its key is there already."""
    key_files.edit(trusted, lambda lines: [*(lines or _HEADER), entry.line])


def end(trusted: Path, name: str, until_ns: int) -> TrustedKey:
    """Let the key of this name or id be trusted until then, and no longer. Its line stays, to say so.

    Raises ConfigError when there is none.
    """
    ended: list[TrustedKey] = []

    def change(lines: list[str]) -> list[str]:
        for index, line in enumerate(lines):
            found = key_files.parse(line, str(trusted))
            if found and name in (found[0].name, found[0].key_id):
                ended.append(_sooner(found[0], until_ns))
                comment = line.partition("#")[2].strip()
                lines[index] = ended[0].line + (f"  # {comment}" if comment else "")
        if not ended:
            raise ConfigError(f"{trusted}: there is no key {name[:80]}: `thermogate keys list` shows them")
        return lines

    key_files.read(trusted)  # a file that is not there has no key to end
    key_files.edit(trusted, change)
    return ended[0]


def prepare(folder: Path, trusted: Path) -> TrustedKey:
    """Make the key that the next `rotate` begins to sign with, and trust it already.

    Raises ConfigError when one is prepared already.
    """
    key = SigningKey.generate()
    key.save(folder / NEXT_KEY)
    return trust_new(trusted, key, "gate", "decision")


def rotate(folder: Path, trusted: Path, overlap_ns: int) -> tuple[TrustedKey, TrustedKey]:
    """(old, new): sign with a new key, or the prepared one, from now; trust the old one for the overlap.

    The old private key is overwritten. In this order: the new one is trusted before it signs anything.
    """
    old = SigningKey.load(folder / GATE_KEY)
    prepared = key_files.exists(folder / NEXT_KEY)
    new = SigningKey.load(folder / NEXT_KEY) if prepared else SigningKey.generate()
    known = {one.key_id: one for one in key_files.read(trusted)}
    entry = known.get(new.key_id) or trust_new(trusted, new, "gate", "decision")
    if old.key_id not in known:
        trust_new(trusted, old, "gate", "decision")
    new.save(folder / GATE_KEY, over=True)
    (folder / NEXT_KEY).unlink(missing_ok=True)
    return end(trusted, old.key_id, time.time_ns() + overlap_ns), entry


def _entry(key: SigningKey, name: str = "gate", purpose: Purpose = "decision") -> TrustedKey:
    return TrustedKey(f"{name}-{key.key_id[:8]}", key.public_bytes, purpose=purpose)


def _sooner(key: TrustedKey, until_ns: int) -> TrustedKey:
    until_ns = until_ns if key.until_ns is None else min(until_ns, key.until_ns)
    return TrustedKey(key.name, key.public, until_ns, key.purpose)
