"""From readings to what is sent: RLE for each device, a line each, and events where something changes.

Pure but for the state it keeps: no clock, no I/O. The same readings give the same bytes.
"""

from collections.abc import Iterable, Mapping

from thermogate.agent import throttle
from thermogate.agent.config import RleSettings
from thermogate.agent.sources.base import Reading
from thermogate.agent.throttle import ThrottleSettings
from thermogate.core import profiles
from thermogate.core.model import DeviceInfo, Event, EventKind, Origin
from thermogate.core.wire import format_line

_DECIMALS = 6
"""Of RLE on the wire: finer than any sensor behind it, and a third fewer bytes than all 17 digits. The
state that the next sample builds on is not rounded."""

_Key = tuple[str, str]
_Limits = tuple[float | None, float | None]


class _Load:
    """RLE of one device: its limits, its state, and since when it is in collapse."""

    def __init__(self, limits: _Limits, params: profiles.Params) -> None:
        self.limits = limits
        self.params = params
        self.state = profiles.initial(params)
        self.elapsed_s: float | None = None
        self.collapse_since_s: float | None = None


class Pipeline:
    """Turns the readings of one node into telemetry lines and events.

    Devices without rated power, temperature or utilization have no RLE: their lines carry what was
    measured and no more.
    """

    def __init__(
        self, node: str, origin: Origin | None, settings: RleSettings, throttling: ThrottleSettings
    ) -> None:
        self._node = node
        self._origin = origin
        self._settings = settings
        self._throttling = throttling
        self._models: dict[_Key, str] = {}
        self._limits: dict[_Key, _Limits] = {}
        self._loads: dict[_Key, _Load] = {}
        self._throttled: dict[_Key, throttle.State | None] = {}

    def describe(self, devices: Iterable[DeviceInfo]) -> None:
        """Take note of models and limits; call again when devices come or change."""
        for info in devices:
            self._models[info.kind, info.device] = info.model
            self._limits[info.kind, info.device] = (info.rated_power_w, info.temp_limit_c)

    def step(self, readings: Iterable[Reading], time_ns: int, elapsed_s: float) -> tuple[str, list[Event]]:
        """The telemetry lines ("" when nothing was measured) and the events of one tick.

        `time_ns` is the UTC stamp; `elapsed_s` the source's steady clock, whose differences are
        the intervals of RLE.
        """
        lines: list[str] = []
        events: list[Event] = []
        for reading in readings:
            key = (reading.kind, reading.device)
            result = self._rle(key, reading.fields, elapsed_s)
            fields = dict(reading.fields)
            if result is not None:
                fields.update(_rle_fields(result))
                events += self._collapse_edge(reading, result, time_ns, elapsed_s)
            events += self._throttle_edge(reading, time_ns, elapsed_s)
            lines.append(
                format_line(
                    reading.kind,
                    self._node,
                    reading.device,
                    self._models.get(key, ""),
                    self._origin,
                    fields,
                    time_ns,
                )
            )
        return "".join(lines), events

    def _rle(self, key: _Key, fields: Mapping[str, float], elapsed_s: float) -> profiles.Result | None:
        util, temp_c = fields.get("util_ratio"), fields.get("temp_c")
        load = self._load(key, fields)
        if load is None or util is None or temp_c is None:
            return None
        sample = profiles.Sample(util, temp_c, fields.get("power_w"), elapsed_s)
        if profiles.why_absent(load.params, sample):
            return None
        if load.elapsed_s is not None and not 0 <= elapsed_s - load.elapsed_s <= self._settings.max_gap_s:
            load.state = profiles.initial(load.params)
        load.state, result = profiles.step(load.params, load.state, sample)
        load.elapsed_s = elapsed_s
        return result

    def _load(self, key: _Key, fields: Mapping[str, float]) -> _Load | None:
        """The device's load with the limits that are enforced now; None without limits."""
        known_power_w, known_limit_c = self._limits.get(key, (None, None))
        rated_power_w = fields.get("power_limit_w", known_power_w)
        temp_limit_c = fields.get("temp_limit_c", known_limit_c)
        rated_power_w = max(0.0, rated_power_w or 0.0)
        powerless = not rated_power_w and self._settings.profile != "headroom"
        if not temp_limit_c or temp_limit_c < 0 or powerless:
            return None
        limits = (rated_power_w, temp_limit_c)
        load = self._loads.get(key)
        if load is not None and load.limits == limits:
            return load
        params = profiles.params(
            self._settings.profile, rated_power_w=rated_power_w, temp_limit_c=temp_limit_c, interval_s=None
        )
        if load is None:
            load = self._loads[key] = _Load(limits, params)
        load.limits, load.params = limits, params
        return load

    def _throttle_edge(self, reading: Reading, time_ns: int, elapsed_s: float) -> list[Event]:
        key = (reading.kind, reading.device)
        state = self._throttled.get(key)
        self._throttled[key], edge = throttle.step(self._throttling, state, reading.fields, elapsed_s)
        if edge is None:
            return []
        text = f"{reading.kind}{reading.device} {edge.text}"
        return [self._event(edge.event, reading, text, time_ns, edge.data)]

    def _collapse_edge(
        self, reading: Reading, result: profiles.Result, time_ns: int, elapsed_s: float
    ) -> list[Event]:
        load = self._loads[reading.kind, reading.device]
        since_s = load.collapse_since_s
        if result.collapse == (since_s is not None):
            return []
        peak = result.rolling_peak
        data: dict[str, float | str] = {
            "rle": result.rle_smoothed,
            "rle_peak": peak,
            "t_sustain_s": result.t_sustain_s,
        }
        share = f"RLE {result.rle_smoothed:.3f} against a peak of {peak:.3f}"
        if result.collapse:
            load.collapse_since_s = elapsed_s
            text = (
                f"{reading.kind}{reading.device} collapsed: {share}, {result.t_sustain_s:.0f} s to its limit"
            )
            return [self._event("collapse_began", reading, text, time_ns, data)]
        load.collapse_since_s = None
        lasted_s = elapsed_s - (elapsed_s if since_s is None else since_s)
        text = f"{reading.kind}{reading.device} recovered after {lasted_s:.0f} s: {share}"
        return [self._event("collapse_ended", reading, text, time_ns, data | {"lasted_s": lasted_s})]

    def _event(
        self, event: EventKind, reading: Reading, text: str, time_ns: int, data: dict[str, float | str]
    ) -> Event:
        return Event(
            node=self._node,
            event=event,
            time_ns=time_ns,
            text=text,
            device_kind=reading.kind,
            device=reading.device,
            data=data,
            origin=self._origin,
        )


def _rle_fields(result: profiles.Result) -> dict[str, float | int]:
    return {
        "rle": round(result.rle_smoothed, _DECIMALS),
        "rle_raw": round(result.rle_raw, _DECIMALS),
        "e_th": round(result.e_th, _DECIMALS),
        "e_pw": round(result.e_pw, _DECIMALS),
        "a_load_ratio": round(result.a_load, _DECIMALS),
        "t_sustain_s": round(result.t_sustain_s, _DECIMALS),
        "rle_peak": round(result.rolling_peak, _DECIMALS),
        "collapse": int(result.collapse),
    }
