"""Settings of what follows decisions, and of what obeys them."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from thermogate.core.config import Settings
from thermogate.core.errors import ConfigError

_Positive = Annotated[float, Meta(gt=0)]
_NotNegative = Annotated[float, Meta(ge=0)]


class WatchSettings(Settings, frozen=True):
    """Whose decisions count, and what is remembered of them."""

    verify: bool = True
    """Obey only decisions that are signed by a key of `trust_file`. Off: whoever can write on the broker can
    stop every job."""
    trust_file: str = ""
    """The keys whose word counts (`thermogate keys`). Empty: keys/trusted in the data folder."""
    max_skew_s: _NotNegative = 30.0
    """A decision may be this much ahead of our clock: servers that keep time are within a second, and one
    whose clock is wrong would else obey for too long."""
    state_file: str = ""
    """What is in force and the newest `seq` of each target, over restarts: a decision that was replaced is
    not let in again, and what SYNC keeps is known. Empty: a file in the data folder. For services, each its
    own; `thermogate run` and trainers keep none."""


class ObeySettings(Settings, frozen=True):
    """What is common to everything that acts on a scheduler."""

    resync_s: _Positive = 30.0
    """How often what is held is compared with what is there: a node that was re-created, a job that was
    requeued. Changes do not wait for it."""
    settle_s: _NotNegative = 10.0
    """After a start nothing is undone before the broker has told what is in force, or this has passed:
    what stands from before the restart would be undone and set again."""
    retry_min_s: _Positive = 1.0
    """The wait after a failure; it doubles with each more."""
    retry_max_s: _Positive = 60.0
    """The longest: a scheduler that was down is obeyed again within a minute."""
    parallel: Annotated[int, Meta(ge=1, le=64)] = 4
    """Targets that are acted on at once: schedulers serve commands one by one, and one that hangs must not
    hold up the others."""
    undo_on_stop: bool = False
    """Undo everything when the service stops. Off, what is held stays so over a restart, in the journal."""


def trust_file(settings: WatchSettings, data_dir: Path | None) -> Path | None:
    """The file of trusted keys; None when verification is switched off. Raises ConfigError for none."""
    if not settings.verify:
        return None
    if settings.trust_file:
        return Path(settings.trust_file).expanduser()
    if data_dir is not None and (found := data_dir / "keys" / "trusted").is_file():
        return found
    where = f" and there is no {data_dir / 'keys' / 'trusted'}" if data_dir is not None else ""
    raise ConfigError(
        f"schedulers.watch.trust_file is not set{where}: it names the keys whose decisions are obeyed. "
        "Make one with `thermogate keys`, or, where all who can reach the broker may stop your work, set "
        "schedulers.watch.verify=false"
    )
