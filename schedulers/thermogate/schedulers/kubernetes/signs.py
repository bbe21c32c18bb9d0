"""The signs by which what we set is known in the cluster, and what a node bears of them. Pure."""

from typing import Any

from thermogate.schedulers.kubernetes.api import Object

KEY = "thermogate.io/gate"
"""Label, and key of taints: hold or repair."""
JOB = "thermogate.io/job"
"""The label by which users say as which target (gate/job/NAME) a job is known."""
TARGET = "thermogate.io/target"
WHY = "thermogate.io/why"
DECISION = "thermogate.io/decision"
CORDONED = "thermogate.io/cordoned"
SUSPENDED = "thermogate.io/suspended"
_MOST_WHY = 2000
"""Characters: all annotations of an object have 256 KiB."""
EFFECTS = {"taint": "NoSchedule", "evict": "NoExecute"}


def uid(found: Object) -> str:
    """The object's, another one once it was deleted and made again."""
    return str(meta(found).get("uid", ""))


def meta(found: Object) -> dict[str, Any]:
    """Its metadata."""
    return found.get("metadata") or {}


def labels(found: Object) -> dict[str, str]:
    """Its labels."""
    return meta(found).get("labels") or {}


def annotations(found: Object) -> dict[str, str]:
    """Its annotations."""
    return meta(found).get("annotations") or {}


def spec(found: Object) -> dict[str, Any]:
    """Its spec."""
    return found.get("spec") or {}


def told(why: str, decision: str, target: str) -> dict[str, str]:
    """Annotations that tell people why, and of which target."""
    return {WHY: why[:_MOST_WHY], DECISION: decision, TARGET: target}


def there(node: Object, drain: str) -> dict[str, str]:
    """What a node bears: by the name of its mark, the value; "" for what is there but bears no sign of ours.

    `drain` is the annotation KEY=VALUE of the settings.
    """
    found: dict[str, str] = {}
    for name, effect in EFFECTS.items():
        taint = next((one for one in taints(node) if is_ours(one, effect)), None)
        if taint is not None:
            found[name] = str(taint.get("value", ""))
    if spec(node).get("unschedulable"):
        found["cordon"] = annotations(node).get(CORDONED, "")
    if KEY in labels(node):
        found["note"] = labels(node)[KEY]
    key, _, value = drain.partition("=")
    if key and key in annotations(node):
        found["drain"] = annotations(node)[key] if annotations(node)[key] == value else ""
    return found


def taints(node: Object) -> list[Object]:
    """All taints of a node."""
    return spec(node).get("taints") or []


def is_ours(taint: Object, effect: str) -> bool:
    """Whether a taint has our key and this effect."""
    return taint.get("key") == KEY and taint.get("effect") == effect
