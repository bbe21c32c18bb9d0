"""`--replay FILE[,speed=N][,node=NAME]...`: a recording and how to play it as a node."""

from pathlib import Path

import msgspec

from thermogate.agent import recording
from thermogate.agent.recording import Recorded, Recording, Sidecar
from thermogate.agent.replay import Replay
from thermogate.core.clock import Clock
from thermogate.core.config import Settings
from thermogate.core.errors import ConfigError
from thermogate.core.model import DeviceInfo
from thermogate.core.profiles import PUBLISHED_LIMITS
from thermogate.core.schema import Kind
from thermogate.core.wire import is_name, to_name


class Play(Settings, frozen=True):
    """One `--replay`. Limits that are not given come from the recording, else are the published ones."""

    file: str
    speed: float = 1.0
    """Times real time."""
    node: str = ""
    """Name of the node; empty: the file's name."""
    loop: bool = False
    """Begin again at the end."""
    rated_power_w: float | None = None
    temp_limit_c: float | None = None
    """Limits of the recording's GPUs; of its CPUs when it has no GPU."""


def parse(text: str) -> Play:
    """Raises ConfigError naming what is wrong with `text`."""
    file, *options = text.split(",")
    while options and "=" not in options[0]:  # a comma in the file's name
        file += "," + options.pop(0)
    pairs: dict[str, str] = {"file": file}
    for option in options:
        name, _, value = option.partition("=")
        pairs[name] = value
    try:
        play = msgspec.convert(pairs, Play, strict=False)
    except msgspec.ValidationError as err:
        raise ConfigError(f"--replay {text}: {err}") from err
    if not 0 < play.speed <= 10_000:
        raise ConfigError(f"--replay {text}: speed {play.speed:g} is not between 0 and 10000")
    if play.node and not is_name(play.node):
        raise ConfigError(f"--replay {text}: node {play.node!r} is not made of [A-Za-z0-9._-]")
    return play


def node_of(play: Play) -> str:
    """The name that the recording plays under."""
    return play.node or to_name(Path(play.file).stem)


def feed(play: Play, data_dir: Path, clock: Clock) -> Replay:
    """The feed of a recording. Raises ConfigError when it cannot be read or has no row to play."""
    recorded, devices = load(play)
    node = node_of(play)
    return Replay(
        node,
        recorded,
        devices,
        speed=play.speed,
        loop=play.loop,
        progress_file=data_dir / "replay" / f"{node}.json",
        clock=clock,
    )


def load(play: Play, option: str = "--replay") -> tuple[Recording, tuple[DeviceInfo, ...]]:
    """What was measured, and its devices. Raises ConfigError when there is no row to play."""
    path = Path(play.file)
    recorded = recording.read(path)
    if not recorded.rows:
        bad = "".join(f"; line {c.line}: {c.text}" for c in recorded.complaints[:1])
        raise ConfigError(f"{option} {play.file}: no row that can be played{bad}")
    known = recording.sidecar(path)
    if known is not None:
        recorded = msgspec.structs.replace(recorded, rows=tuple(map(known.measured, recorded.rows)))
    devices = recorded.devices()
    meant: Kind = "gpu" if any(kind == "gpu" for kind, _ in devices) else "cpu"
    return recorded, tuple(
        _device(play if kind == meant else Play(play.file), known, kind, device) for kind, device in devices
    )


def _device(play: Play, known: Sidecar | None, kind: Kind, device: str) -> DeviceInfo:
    """Limits from the arguments, else from beside the recording, else those that were published."""
    beside = getattr(known, kind) if known else Recorded()
    published_power_w, published_limit_c = PUBLISHED_LIMITS[kind]
    rated_power_w = play.rated_power_w or beside.rated_power_w
    temp_limit_c = play.temp_limit_c or beside.temp_limit_c
    unknown = {"rated_power_w": rated_power_w, "temp_limit_c": temp_limit_c}
    return DeviceInfo(
        kind=kind,
        device=device,
        model=to_name(beside.model) if beside.model else "",
        name=beside.model or "",
        rated_power_w=rated_power_w or published_power_w,
        temp_limit_c=temp_limit_c or published_limit_c,
        assumed=tuple(name for name, value in unknown.items() if value is None),
    )


def shipped() -> tuple[Play, ...]:
    """The recordings that come with thermogate, played for ever."""
    return tuple(Play(file=str(path), loop=True) for path in recording.shipped())
