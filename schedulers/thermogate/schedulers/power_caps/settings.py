"""Settings of power caps."""

from typing import Annotated

from msgspec import Meta, field

from thermogate.core.config import Settings
from thermogate.schedulers.watch_settings import ObeySettings

_Positive = Annotated[float, Meta(gt=0)]


class PowerCapObeySettings(ObeySettings, frozen=True):
    """As `schedulers.obey`, with a default of its own."""

    undo_on_stop: bool = True
    """Restore every limit when the service stops: a cap that nobody is left to lift is not left behind."""


class PowerCapSettings(Settings, frozen=True):
    """How a node's pace becomes a power limit of its GPUs."""

    node: str = ""
    """The node whose pace is followed: this one. Empty: agent.node, else the host's name."""
    call_timeout_s: _Positive = 5.0
    """How long a call to the driver may take. A GPU that does not answer within it is left out, and not
    asked again before it has; without persistence mode a driver takes seconds to wake one."""
    obey: PowerCapObeySettings = field(default_factory=PowerCapObeySettings)
