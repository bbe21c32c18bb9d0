"""The agent's own budget of processor time: when optional sensors stay out, and when they return. Pure."""

from typing import Annotated

import msgspec

from thermogate.core.config import Settings
from thermogate.core.model import EventKind

_Positive = Annotated[float, msgspec.Meta(gt=0)]


class BudgetSettings(Settings, frozen=True):
    """What the agent may cost, and what it does about it."""

    cpu_ratio: _Positive = 0.02
    """Share of one core that the agent may take before it leaves out optional sensors: five times what
    a node with 8 GPUs costs (docs/cost.md), so that it speaks of a driver gone slow, not of noise."""
    window_s: _Positive = 60.0
    """The share is a mean over this time: a start, a burst of events or one slow sweep is not a habit."""
    back_ratio: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    """Optional sensors come back once the agent without them takes less than this share of its budget:
    they are at most half of all calls."""
    wait_s: _Positive = 600.0
    """How long they stay away at least: ten minutes, so that the series does not flicker."""
    wait_max_s: _Positive = 86400.0
    """The wait doubles, up to this, each time that they come back and the budget is exceeded again
    within that wait: a node whose driver is always slow tries once a day."""


class State(msgspec.Struct, frozen=True):
    """Where the window began, since when the mode is as it is, and how long the next wait is."""

    elapsed_s: float
    cpu_s: float
    frugal: bool = False
    since_s: float = 0.0
    wait_s: float = 0.0


class Change(msgspec.Struct, frozen=True):
    """What is to be done, said to a person in one sentence, and the same as data."""

    frugal: bool
    event: EventKind
    text: str
    data: dict[str, float | str]


def step(
    settings: BudgetSettings,
    state: State | None,
    elapsed_s: float,
    cpu_s: float,
    *,
    catching_up: bool = False,
) -> tuple[State, Change | None]:
    """The next state, and what has changed: optional sensors are to be left out, or to come back.

    `elapsed_s` is a steady clock and `cpu_s` the processor time of the process on it; None is the
    state before the first call, so what the start has cost is not counted. `catching_up` says that a
    backlog is being sent: no sensor is the cause of what that costs, and the window begins anew.
    """
    if state is None:
        return State(elapsed_s, cpu_s, since_s=elapsed_s, wait_s=settings.wait_s), None
    if catching_up:
        return msgspec.structs.replace(state, elapsed_s=elapsed_s, cpu_s=cpu_s), None
    took_s = elapsed_s - state.elapsed_s
    if took_s < settings.window_s:
        return state, None
    ratio = (cpu_s - state.cpu_s) / took_s
    state = msgspec.structs.replace(state, elapsed_s=elapsed_s, cpu_s=cpu_s)
    return _still_frugal(settings, state, ratio) if state.frugal else _still_free(settings, state, ratio)


def _still_free(settings: BudgetSettings, state: State, ratio: float) -> tuple[State, Change | None]:
    held_s = state.elapsed_s - state.since_s
    if ratio <= settings.cpu_ratio:
        if held_s >= state.wait_s > settings.wait_s:  # it has kept to its budget for as long as it waited
            state = msgspec.structs.replace(state, wait_s=settings.wait_s)
        return state, None
    text = (
        f"the agent takes {ratio:.2%} of a core, more than its budget of {settings.cpu_ratio:.2%}:"
        " it leaves out optional sensors"
    )
    state = msgspec.structs.replace(state, frugal=True, since_s=state.elapsed_s)
    return state, _change(settings, state, "frugal_began", text, ratio, wait_s=state.wait_s)


def _still_frugal(settings: BudgetSettings, state: State, ratio: float) -> tuple[State, Change | None]:
    held_s = state.elapsed_s - state.since_s
    if held_s < state.wait_s or ratio > settings.back_ratio * settings.cpu_ratio:
        return state, None
    text = (
        f"the agent takes {ratio:.2%} of a core of its budget of {settings.cpu_ratio:.2%}:"
        f" optional sensors are back after {held_s:.0f} s"
    )
    longer_s = min(2 * state.wait_s, settings.wait_max_s)  # forgotten once it has gone well for as long
    state = msgspec.structs.replace(state, frugal=False, since_s=state.elapsed_s, wait_s=longer_s)
    return state, _change(settings, state, "frugal_ended", text, ratio, lasted_s=held_s)


def _change(
    settings: BudgetSettings, state: State, event: EventKind, text: str, ratio: float, **times_s: float
) -> Change:
    data: dict[str, float | str] = {"cpu_ratio": ratio, "budget_ratio": settings.cpu_ratio, **times_s}
    return Change(state.frugal, event, text, data)
