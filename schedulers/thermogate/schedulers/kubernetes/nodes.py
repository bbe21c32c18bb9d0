"""What is to be done about a node. Pure: from the node as it was read to the requests that change it."""

import shlex
from collections.abc import Mapping

import msgspec

from thermogate.core.decision import State
from thermogate.schedulers.adapter import Mark, Marks, Plan, Step
from thermogate.schedulers.kubernetes import signs
from thermogate.schedulers.kubernetes.api import Object
from thermogate.schedulers.kubernetes.requests import Apply, Request, Taint
from thermogate.schedulers.kubernetes.settings import KubernetesSettings
from thermogate.schedulers.standing import Standing

_TAINTS = tuple(signs.EFFECTS)
_APPLIED = ("cordon", "drain", "note")
"""What is said by server-side apply. "note" are the label and the annotations that tell why."""


class _Move(msgspec.Struct, frozen=True):
    """Of one thing: what it is to be, None to take it away; and whether that is a change."""

    value: str | None
    changes: bool


def path_of(name: str) -> str:
    """Of a node in the API."""
    return f"/api/v1/nodes/{name}"


def plan(settings: KubernetesSettings, node: Object, target: str, wanted: Standing, marks: Marks) -> Plan:
    """From what the node bears to what is wanted; see Adapter.plan."""
    name, uid = signs.meta(node)["name"], signs.uid(node)
    bears = signs.there(node, settings.drain_annotation)
    ours = {thing: mark for thing, mark in marks.items() if _uid(mark) == uid}
    asked = _asked(settings, wanted)
    moves = {
        thing: move
        for thing in (*_TAINTS, *_APPLIED)
        if (move := _move(asked.get(thing), bears.get(thing), ours.get(thing))) is not None
    }
    if not {*moves} - {"note"}:
        moves = {thing: move for thing, move in moves.items() if move.value is None}  # nothing to tell why
    forgets = tuple(
        thing for thing in marks if thing not in moves and (thing not in ours or thing not in asked)
    )
    steps = [_tainting(name, uid, moves), _applying(settings, node, target, wanted, moves)]
    return Plan(
        _text(name, wanted, moves, bears),
        steps=tuple(step for step in steps if step is not None),
        forgets=forgets,
    )


def marks_of(settings: KubernetesSettings, node: Object) -> Marks:
    """What bears our sign on a node, as marks."""
    bears = signs.there(node, settings.drain_annotation)
    return {thing: Mark(f"{signs.uid(node)} {value}") for thing, value in bears.items() if value}


def _asked(settings: KubernetesSettings, wanted: Standing) -> dict[str, str]:
    if not wanted.held:
        return {}
    repair = wanted.state is State.REPAIR
    word = "repair" if repair else "hold"
    things = settings.repair if repair else settings.hold
    asked: dict[str, str] = {thing: word if thing == "taint" else "true" for thing in things}
    if repair and settings.evict:
        asked["evict"] = word
    if repair and settings.drain_annotation:
        asked["drain"] = settings.drain_annotation.partition("=")[2]
    return {**asked, "note": word} if asked else {}


def _move(asked: str | None, bears: str | None, mark: Mark | None) -> _Move | None:
    """None: it is not ours, or somebody has undone it, and it stays so. `bears` "" is another's."""
    if mark is None:
        return _Move(asked, changes=True) if asked is not None and bears is None else None
    ours = _value(mark)
    if asked is None:
        return _Move(None, changes=True) if bears and (bears == ours or not mark.done) else None
    if bears == asked and (ours == asked or not mark.done):
        return _Move(asked, changes=not mark.done)
    if bears == ours or (not mark.done and bears != ""):
        return _Move(asked, changes=True)
    return None


def _uid(mark: Mark) -> str:
    return mark.detail.partition(" ")[0]


def _value(mark: Mark) -> str:
    return mark.detail.partition(" ")[2]


def _tainting(name: str, uid: str, moves: Mapping[str, _Move]) -> Step | None:
    due = {thing: moves[thing].value for thing in _TAINTS if thing in moves and moves[thing].changes}
    if not due:
        return None
    values = {signs.EFFECTS[thing]: value for thing, value in due.items()}
    words = [_taint_word(effect, value) for effect, value in values.items()]
    return _step(
        f"kubectl taint --overwrite node {name} {' '.join(words)}",
        Taint(path_of(name), uid, values),
        uid,
        due,
    )


def _taint_word(effect: str, value: str | None) -> str:
    return f"{signs.KEY}:{effect}-" if value is None else f"{signs.KEY}={value}:{effect}"


def _applying(
    settings: KubernetesSettings, node: Object, target: str, wanted: Standing, moves: Mapping[str, _Move]
) -> Step | None:
    due = {thing: moves[thing].value for thing in _APPLIED if thing in moves and moves[thing].changes}
    if not due:
        return None
    name, uid = signs.meta(node)["name"], signs.uid(node)
    stays = {
        thing: moves[thing].value for thing in _APPLIED if thing in moves and moves[thing].value is not None
    }
    notes = _notes(settings, node, target, wanted, stays, renewed="note" in due)
    body: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": uid}}
    if notes:
        body["metadata"]["annotations"] = notes
    if "note" in stays:
        body["metadata"]["labels"] = {signs.KEY: stays["note"]}
    if "cordon" in stays:
        body["spec"] = {"unschedulable": True}
    words = [f"kubectl {'cordon' if due['cordon'] else 'uncordon'} {name}"] if "cordon" in due else []
    said = [f"{key}={value}" for key, value in notes.items()] or [f"{signs.WHY}-"]
    words.append(f"kubectl annotate node {name} {shlex.join(said)}")
    return _step("; ".join(words), Apply(path_of(name), body), uid, due)


def _notes(
    settings: KubernetesSettings,
    node: Object,
    target: str,
    wanted: Standing,
    stays: Mapping[str, str | None],
    *,
    renewed: bool,
) -> dict[str, str]:
    """Annotations: an apply says all that is ours, so also what is there already."""
    if not stays:
        return {}
    has = signs.annotations(node)
    notes = {key: has[key] for key in (signs.WHY, signs.DECISION, signs.TARGET) if key in has}
    if renewed and wanted.decision is not None:
        notes = signs.told(wanted.why, wanted.decision.id, target)
    if "cordon" in stays:
        notes[signs.CORDONED] = "true"
    if "drain" in stays:
        key, _, value = settings.drain_annotation.partition("=")
        notes[key] = value
    return notes


def _step(text: str, request: Request, uid: str, due: Mapping[str, str | None]) -> Step:
    return Step(
        text,
        data=request,
        sets={thing: f"{uid} {value}" for thing, value in due.items() if value is not None},
        clears=tuple(thing for thing, value in due.items() if value is None),
    )


_VERBS = {"taint": "taint", "cordon": "cordon", "evict": "evict the pods of", "drain": "ask for the drain of"}


def _text(name: str, wanted: Standing, moves: Mapping[str, _Move], bears: Mapping[str, str]) -> str:
    ours = [thing for thing in _VERBS if thing in moves]
    changes = [_VERBS[thing] for thing in ours if moves[thing].changes]
    if not wanted.held:
        return (
            f"undo on node {name}: {', '.join(changes)}" if changes else f"node {name} bears nothing of ours"
        )
    if changes:
        return f"{', '.join(changes)} node {name}"
    if ours:
        return f"node {name} is held by us: {', '.join(ours)}"
    if bears:
        return f"node {name} is held by somebody else, and stays so"
    return f"node {name}: nothing is set by us"
