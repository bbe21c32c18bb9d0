"""What is said around a decision: an operator's word, what schedulers did, what trainers report, signals."""

from typing import Literal

import msgspec

from thermogate.core.clock import NS
from thermogate.core.decision import Mode, State, TargetKind
from thermogate.core.model import Origin
from thermogate.core.schema import VERSION

OverrideKind = Literal["node", "job", "group", "fleet"]
"""What an operator may speak about; a group is one of `analytics.groups`, the fleet is called "all"."""

MOST_SPAN_NS = 30 * 86_400 * NS
"""An operator's word begins within this, and lasts no longer: else somebody forgets it."""
_MOST_TEXT = 1000
"""It stands in every decision that comes of it, and those have to fit a message."""


class Override(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An operator's word, retained on `override/<kind>/<target>`; a newer one that is over takes it back.

    It goes before every policy from `from_ns` to `until_ns` (UTC). SYNC is a maintenance window: what is
    held stays, nothing changes. RUN sets the policies aside. `by` is who, `why` one sentence. Whatever a
    program signs: what no decision may say, or would be forgotten, is not decoded.
    """

    id: str
    kind: OverrideKind
    target: str
    state: State
    issued_at_ns: int
    from_ns: int
    until_ns: int
    why: str
    by: str
    pace: float = 1.0
    schema: str = VERSION
    issuer: str = ""
    signature: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.pace <= 1:
            raise ValueError(f"pace {self.pace:g} is no share of full power, 0 to 1")
        if max(self.until_ns - self.from_ns, self.from_ns - self.issued_at_ns) > MOST_SPAN_NS:
            raise ValueError("begins more than 30 days after it was said, or lasts longer")
        if len(self.why) + len(self.by) > _MOST_TEXT:
            raise ValueError(f"why and by are over {_MOST_TEXT} characters")


Outcome = Literal["done", "would", "nothing", "undone", "failed"]
"""`would`: in shadow or a dry run; `nothing`: it was so already, or is another's; `undone`: on release."""


class Applied(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a scheduler did about a decision, on `applied/<kind>/<target>`.

    `scheduler` is its name ("slurm"), `host` where it runs. `decision` and `seq` are of the decision, the
    last one when it has expired. `actions` are the commands or requests as they were, or would have been,
    given; `text` is one sentence for a person.
    """

    scheduler: str
    host: str
    kind: TargetKind
    target: str
    decision: str
    seq: int
    state: State
    mode: Mode
    outcome: Outcome
    time_ns: int
    text: str
    actions: tuple[str, ...] = ()
    schema: str = VERSION


class Report(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a training says of itself, on `request/<kind>/<target>`: metrics at a step, units in the names."""

    kind: Literal["job", "trial"]
    target: str
    time_ns: int
    step: int
    metrics: dict[str, float]
    schema: str = VERSION


class DeviceSignals(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The regulator's signals of one device ("gpu0"); None is not known. docs/signals.md has the formulas."""

    device: str
    volatility: float | None = None
    overload: float | None = None
    incoherence: float | None = None
    repair_severity: float | None = None


class Signals(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """On `signal/node/<node>`, every `analytics.signals.every_s`: the signals of a node's devices."""

    node: str
    time_ns: int
    devices: tuple[DeviceSignals, ...]
    origin: Origin | None = None
    schema: str = VERSION
