"""What operators have said, over restarts: a broker that keeps nothing on disk forgets it as well."""

import logging
import os
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """A word as it was published, signature and all; until `until_ns` none that is older counts."""

    topic: str
    payload: str
    until_ns: int


def load(file: Path) -> list[Kept]:
    """Those of the file; none when there is none, or it cannot be read, which is told."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[Kept])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as err:
        log.warning("%s: only the words that the broker retains are known: %s", file, err)
        return []


def save(file: Path, words: list[Kept]) -> None:
    """Whole or not at all. What the disk does not take is told: the broker retains it too."""
    new = file.with_name(f".{file.name}.new")
    try:
        with new.open("wb") as out:
            out.write(msgspec.json.encode(words))
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as err:
        log.warning("%s: what operators said was not saved: %s", file, err)
