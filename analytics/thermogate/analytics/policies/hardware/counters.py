"""What the counters and clock events of a GPU say. Counters begin anew when the driver is loaded."""

import msgspec

from thermogate.analytics.config import HardwareSettings
from thermogate.core.clock import NS
from thermogate.core.wire import Point

_MOST = 1e18
"""As many as a counter on the wire can have; a difference of greater numbers may be infinite."""


class Counters(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The counters of one GPU: their last values, None where never told, and when they last began anew.

    `uncorrected_base` and `corrected_base` are what growth is counted from: the first value that was seen,
    as nobody knows how old that is, 0 after a new beginning, and for corrected errors the value when
    the window began, at `window_ns`. A power brake lasts from `brake_ns` to `braked_ns`. `uuid` is of the
    GPU, "" where the node does not say: another GPU of the same number is looked at as for the first time.
    """

    seen_ns: int
    energy_j: float | None = None
    uncorrected: float | None = None
    corrected: float | None = None
    anew_ns: int = 0
    uncorrected_base: float = 0.0
    corrected_base: float = 0.0
    window_ns: int = 0
    brake_ns: int = 0
    braked_ns: int = 0
    uuid: str = ""

    @property
    def uncorrected_growth(self) -> float:
        """Errors that ECC could not correct, since there has been somebody to see them."""
        return 0.0 if self.uncorrected is None else min(self.uncorrected - self.uncorrected_base, _MOST)

    @property
    def corrected_growth(self) -> float:
        """Errors that ECC corrected within the window."""
        return 0.0 if self.corrected is None else min(self.corrected - self.corrected_base, _MOST)


def take(params: HardwareSettings, before: Counters | None, point: Point, uuid: str = "") -> Counters:
    """The counters after a sample of the GPU `uuid`. What the sample does not tell stays as it was."""
    fields, now_ns = point.fields, point.time_ns
    energy_j = fields.get("energy_j")
    uncorrected, corrected = fields.get("ecc_uncorrected_count"), fields.get("ecc_corrected_count")
    if before is None or (uuid and before.uuid and uuid != before.uuid):
        bases = uncorrected or 0.0, corrected or 0.0
        began = Counters(now_ns, energy_j, uncorrected, corrected, 0, *bases, now_ns, uuid=uuid)
        return _braked(params, began, fields.get("clock_event_hw_power_brake"))
    is_anew = (
        _is_less(energy_j, before.energy_j)
        or _is_less(uncorrected, before.uncorrected)
        or _is_less(corrected, before.corrected)
    )
    is_over = is_anew or now_ns - before.window_ns >= params.corrected_window_s * NS
    base = before.uncorrected_base if before.uncorrected is not None else uncorrected or 0.0
    last = before.corrected if before.corrected is not None else corrected or 0.0
    after = Counters(
        now_ns,
        before.energy_j if energy_j is None else energy_j,
        before.uncorrected if uncorrected is None else uncorrected,
        before.corrected if corrected is None else corrected,
        now_ns if is_anew else before.anew_ns,
        0.0 if is_anew else base,
        0.0 if is_anew else last if is_over or before.corrected is None else before.corrected_base,
        now_ns if is_over else before.window_ns,
        before.brake_ns,
        before.braked_ns,
        uuid or before.uuid,
    )
    brake = fields.get("clock_event_hw_power_brake")
    return _braked(params, after, brake, before.seen_ns) if brake else after


def _is_less(value: float | None, before: float | None) -> bool:
    return value is not None and before is not None and value < before


def _braked(params: HardwareSettings, after: Counters, brake: float | None, before_ns: int = 0) -> Counters:
    """The counters with a brake now; `before_ns` is the sample before, maybe longer ago than the gap."""
    if not brake:
        return after
    on_end = after.braked_ns == before_ns
    gap_s = max(params.brake_gap_s, params.brake_after_s / 2) if on_end else params.brake_gap_s
    goes_on = after.seen_ns - after.braked_ns <= gap_s * NS
    began_ns = after.brake_ns if goes_on and after.brake_ns else after.seen_ns
    return msgspec.structs.replace(after, brake_ns=began_ns, braked_ns=after.seen_ns)
