"""From what a node is to what it shall be. Pure."""

from typing import NamedTuple

from thermogate.core.decision import State
from thermogate.schedulers.adapter import Mark, Plan
from thermogate.schedulers.slurm import command
from thermogate.schedulers.slurm.reading import NodeSeen
from thermogate.schedulers.slurm.words import is_ours, reason
from thermogate.schedulers.standing import Standing

DRAIN = "drain"
_LOST_S = 15.0
"""slurmctld writes what has changed to disk within 5 s or so; one that is killed before forgets it."""


class Drain(NamedTuple):
    """The mark of a drain: when it was set (UTC seconds), and as what."""

    stamp_s: float
    state: str

    def detail(self) -> str:
        """As the journal keeps it."""
        return f"{int(self.stamp_s)} {self.state}"

    @staticmethod
    def of(mark: Mark) -> "Drain":
        """As it was journaled; one that was found by its sign has no time and no state."""
        stamp, _, state = mark.detail.partition(" ")
        return Drain(float(stamp) if stamp.isdecimal() else 0.0, state)


def is_missing(node: NodeSeen | None, mark: Mark | None) -> bool:
    """Whether a drain that was done is not there: undone by somebody, or forgotten by the controller."""
    return node is not None and mark is not None and mark.done and not node.drained


def plan_node(
    node: NodeSeen | None,
    name: str,
    wanted: Standing,
    mark: Mark | None,
    now_s: float,
    boot_s: float | None,
) -> Plan:
    """The steps for a drain or its end. A missing drain asks for `boot_s`: when the controller started."""
    if node is None:
        return Plan(f"Slurm knows no node {name}", forgets=(DRAIN,) if mark else ())
    ours = node.drained and is_ours(node.reason)
    if not wanted.held:
        return _release(node, mark, ours=ours)
    if ours and mark is not None and mark.done and Drain.of(mark).state in ("", wanted.state.value):
        return Plan("")
    if ours:
        return _drain(node, wanted, now_s)
    if node.drained:
        return _anothers(node, mark)
    if is_missing(node, mark):
        assert mark is not None
        if not _was_forgotten(mark, boot_s):
            return Plan(f"{name} was put back by somebody: left alone until the gate has let it go once")
    elif node.down:
        return Plan(
            f"{name} is down already ({node.reason or 'no reason given'}): drained when it comes back"
        )
    return _drain(node, wanted, now_s)


def _release(node: NodeSeen, mark: Mark | None, *, ours: bool) -> Plan:
    if mark is None:
        return Plan("")
    if not ours:
        state = f"is drained by somebody else ({node.reason})" if node.drained else "is not drained any more"
        return Plan(f"{node.name} {state}: left alone", forgets=(DRAIN,))
    return Plan(f"take back the drain of {node.name}", (command.undrain(node.name).step(clears=(DRAIN,)),))


def _drain(node: NodeSeen, wanted: Standing, now_s: float) -> Plan:
    doing = "drain" if wanted.state is State.HOLD else "drain for repair"
    drain = command.drain(node.name, reason(wanted.why))
    mark = Drain(now_s, wanted.state.value).detail()
    return Plan(f"{doing} {node.name}", (drain.step(sets={DRAIN: mark}),))


def _anothers(node: NodeSeen, mark: Mark | None) -> Plan:
    text = f"{node.name} is drained by somebody else ({node.reason or 'no reason given'}): left alone"
    never_ours = mark is not None and not mark.done
    return Plan(text, forgets=(DRAIN,) if never_ours else ())


def _was_forgotten(mark: Mark, boot_s: float | None) -> bool:
    """Whether the controller was restarted right after the drain: then nobody has undone it."""
    stamp_s = Drain.of(mark).stamp_s
    return boot_s is not None and stamp_s <= boot_s + 1.0 and boot_s - stamp_s <= _LOST_S
