"""What systemd gives the installed service beside its file of settings: environment and credentials."""

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from thermogate.cli.layout import UNIT

_LOADS = re.compile(r"^\s*LoadCredentialEncrypted\s*=\s*[^\s:]", re.MULTILINE)


class UnitLook(msgspec.Struct, frozen=True):
    """`credentials` is where those of the running service lie, None when it has none or does not run.
    `encrypted` says that some are, which systemd opens for the running service only."""

    environ: Mapping[str, str] = {}
    credentials: Path | None = None
    encrypted: bool = False


def look(
    timeout_s: float,
    booted: Path = Path("/run/systemd/system"),
    credentials: Path = Path("/run/credentials") / UNIT,
) -> UnitLook:
    """Ask systemd; nothing where it does not run, does not answer or has no such unit."""
    if not booted.is_dir():  # as sd_booted(3)
        return UnitLook()
    try:
        shown = _output(["systemctl", "show", UNIT, "-p", "Environment", "--value"], timeout_s)
        # not `show`: up to systemd 252 and beyond it says "[unprintable]" of credentials
        text = _output(["systemctl", "cat", UNIT], timeout_s)
    except (OSError, subprocess.SubprocessError):
        return UnitLook()
    running = credentials if credentials.is_dir() else None
    return UnitLook(environment(shown), running, bool(_LOADS.search(text)))


def environment(shown: str) -> dict[str, str]:
    """What `systemctl show -p Environment --value` says; {} when it cannot be read."""
    try:
        words = shlex.split(shown)
    except ValueError:
        return {}
    return {name: value for name, found, value in (word.partition("=") for word in words) if found}


def _output(command: list[str], timeout_s: float) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    return done.stdout
