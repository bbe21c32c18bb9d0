"""Throttling as something that begins and ends, from a flag that may flicker at every sample. Pure."""

from collections.abc import Mapping

import msgspec

from thermogate.core.config import Settings
from thermogate.core.model import EventKind
from thermogate.core.schema import THROTTLE_CAUSES


class ThrottleSettings(Settings, frozen=True):
    """When throttling is reported as over."""

    clear_after_s: float = 10.0
    """A device at its limit throttles every few samples: it is one event until it has not for this long."""


class State(msgspec.Struct, frozen=True):
    """Since when a device throttles, and when it last did, on a steady clock."""

    began_s: float
    last_s: float


class Edge(msgspec.Struct, frozen=True):
    """Throttling that began or ended: what to say after the device's name, and the same as data."""

    event: EventKind
    text: str
    data: dict[str, float | str]


def step(
    settings: ThrottleSettings, state: State | None, fields: Mapping[str, float | int], elapsed_s: float
) -> tuple[State | None, Edge | None]:
    """The next state, None while not throttling, and what has changed at this sample.

    `elapsed_s` is a steady clock. A sample without the field `throttled` changes nothing: it was
    not measured.
    """
    throttled = fields.get("throttled")
    if throttled:
        began_s = elapsed_s if state is None else state.began_s
        return State(began_s, elapsed_s), _began(fields) if state is None else None
    if throttled is None or state is None or elapsed_s - state.last_s < settings.clear_after_s:
        return state, None
    return None, _ended(state)


def _began(fields: Mapping[str, float | int]) -> Edge:
    causes = [cause for name, cause in THROTTLE_CAUSES.items() if fields.get(name)]
    data: dict[str, float | str] = {"cause": ", ".join(causes)} if causes else {}
    found = f" by {data['cause']}" if causes else ""
    at = f" at {fields['temp_c']:.0f} C" if "temp_c" in fields else ""
    data.update({name: fields[name] for name in ("temp_c", "power_w", "sm_clock_hz") if name in fields})
    return Edge("throttle_began", f"is slowed down{found}{at}", data)


def _ended(state: State) -> Edge:
    lasted_s = state.last_s - state.began_s
    return Edge("throttle_ended", f"runs freely again after {lasted_s:.0f} s", {"lasted_s": lasted_s})
