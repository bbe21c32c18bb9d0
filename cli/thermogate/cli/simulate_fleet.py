"""The folder of a simulated fleet: what it is made of, what each node has generated, and its spools."""

from pathlib import Path

import msgspec

from thermogate.agent import recording
from thermogate.agent.config import RleSettings
from thermogate.agent.simulated import Fleet, Trace, traces_of
from thermogate.cli import playing
from thermogate.cli.playing import Play
from thermogate.core.errors import ConfigError, UnavailableError

_FILE = "fleet.json"


def traces(sources: list[Path], rle: RleSettings) -> tuple[Trace, ...]:
    """Of the recordings named, files or folders of CSV files; of none: those that come with thermogate.

    Raises ConfigError where there is no GPU among them.
    """
    files = [file for source in sources for file in _files(source)] if sources else recording.shipped()
    found: list[Trace] = []
    for file in files:
        recorded, devices = playing.load(Play(file=str(file)), "--from")
        found += traces_of(recorded, devices, rle)
    if not any(trace.device.kind == "gpu" for trace in found):
        raise ConfigError("--from: no recording of a GPU among " + ", ".join(map(str, sources)))
    return tuple(found)


def make(folder: Path, fleet: Fleet) -> None:
    """Write down what the fleet is, or see that it is the one that is there. Raises ConfigError."""
    text = msgspec.json.encode(fleet)
    file = folder / _FILE
    if file.exists():
        if msgspec.json.encode(load(folder)) != text:
            raise ConfigError(f"{folder} holds another fleet: name another folder with --out")
        return
    try:
        draft = file.with_suffix(".new")
        draft.write_bytes(text)
        draft.replace(file)
    except OSError as err:
        raise UnavailableError(f"cannot write {file}: {err.strerror}") from err


def load(folder: Path) -> Fleet:
    """Raises ConfigError where `folder` is not that of a simulated fleet."""
    try:
        return msgspec.json.decode((folder / _FILE).read_bytes(), type=Fleet)
    except OSError as err:
        raise ConfigError(f"{folder}: no simulated fleet: {_FILE}: {err.strerror}") from err
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise ConfigError(f"{folder / _FILE}: {err}") from err


def journal(folder: Path, node: str) -> Path:
    """Where it stands what a node has generated."""
    return folder / "generated" / node


def spool(folder: Path, node: str) -> Path:
    """Where a node keeps what no store has."""
    return folder / "spool" / node


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(source.glob("*.csv"))
    if not found:
        raise ConfigError(f"--from {source}: no file NAME.csv in it")
    return found
