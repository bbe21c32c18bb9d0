"""The idle policy: HOLD for a job that has GPUs and does nothing with them."""

from collections import Counter
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from thermogate.analytics.config.idle import IdleSettings
from thermogate.analytics.policies.base import JobObservation, Verdict
from thermogate.analytics.policies.idle import words
from thermogate.analytics.policies.idle.memory import IdleState, absorb, does, name_of
from thermogate.core.clock import NS

_MAX_TRIES = 3
"""After so many tries in vain the wait doubles no more: eightfold."""


class _Seen(Struct, frozen=True):
    """What the devices of a job do now: how many, and whether all of them are measured."""

    works: int
    idles: int
    spins: int
    measured: bool


def step(params: IdleSettings, state: IdleState, observation: JobObservation) -> tuple[IdleState, Verdict]:
    """The job after an observation of it, and what it should do."""
    if is_exempt(params, observation):
        return IdleState(), words.RUN
    now_ns = max(observation.now_ns, state.now_ns)
    gap = state.now_ns and now_ns - state.now_ns > params.stale_s * NS
    if gap and not state.held_ns:  # nobody knows what it did meanwhile
        state = replace(state, quiet_ns=0, spin_ns=0)
    devices = absorb(params, state, observation)
    found = Counter(does(params, watched) for watched in devices.values())
    measured = found[None] == 0 and all(name_of(member) in devices for member in observation.members)
    seen = _Seen(found["works"], found["idles"], found["spins"], measured and bool(devices))
    state = replace(state, devices=devices, now_ns=now_ns)
    state = _waiting(params, state, seen) if state.held_ns else _running(params, state, seen, observation)
    about = words.About(observation, seen.idles, seen.spins, wait_s(params, state.tries))
    if state.held_ns:
        return state, words.hold(params, state, about)
    return state, words.run(params, state, about)


def is_exempt(params: IdleSettings, observation: JobObservation) -> bool:
    """Whether the job is one of those that are never held."""
    first = observation.members[0] if observation.members else None
    of = {
        "job": observation.target,
        "user": first.user if first else "",
        "manager": first.manager if first else "",
    }
    for entry in params.exempt:
        kind, _, pattern = entry.partition(":")
        if of[kind] and fnmatchcase(of[kind], pattern):
            return True
    return False


def wait_s(params: IdleSettings, tries: int) -> float:
    """How long a job that is held waits for its next try; 0 for ever."""
    return float(params.retry_s * 2 ** min(tries, _MAX_TRIES))


def _waiting(params: IdleSettings, state: IdleState, seen: _Seen) -> IdleState:
    """A job that is held: its own checkpoint is no work, and to be idle is what it was told."""
    held_s = (state.now_ns - state.held_ns) / NS
    if seen.works and held_s > params.checkpoint_s:
        return _freed(state, f"a device of it works again after {words.minutes(held_s)} of HOLD")
    after_s = wait_s(params, state.tries)
    if after_s and held_s >= after_s:
        tried = f"it may try again for {words.minutes(params.probe_s)}, after {words.minutes(held_s)} of HOLD"
        return replace(state, held_ns=0, probe_ns=state.now_ns, tries=state.tries + 1, cleared=tried)
    return state


def _running(params: IdleSettings, state: IdleState, seen: _Seen, observation: JobObservation) -> IdleState:
    if seen.works:
        return replace(state, worked=True, quiet_ns=0, spin_ns=0, probe_ns=0, tries=0)
    if observation.held or not seen.measured:
        probe_ns = state.now_ns if state.probe_ns else 0  # the try begins when it can be seen
        return replace(state, quiet_ns=0, spin_ns=0, probe_ns=probe_ns)
    state = replace(
        state,
        quiet_ns=state.quiet_ns or state.now_ns,
        spin_ns=(state.spin_ns or state.now_ns) if seen.spins else 0,
    )
    return replace(state, held_ns=state.now_ns, probe_ns=0) if _is_over(params, state) else state


def _is_over(params: IdleSettings, state: IdleState) -> bool:
    if state.probe_ns:
        return state.now_ns - state.probe_ns >= params.probe_s * NS
    if state.spin_ns and state.now_ns - state.spin_ns >= params.hung_s * NS:
        return True
    limit_s = params.after_s if state.worked else params.start_s
    return state.now_ns - state.quiet_ns >= limit_s * NS


def _freed(state: IdleState, cleared: str) -> IdleState:
    return IdleState(devices=state.devices, now_ns=state.now_ns, worked=True, cleared=cleared)
