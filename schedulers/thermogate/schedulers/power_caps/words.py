"""What power caps say to people: which GPUs, at how many watts, and what was left alone."""

from collections.abc import Iterable, Sequence

from thermogate.schedulers.power_caps.caps import Limits, Move
from thermogate.schedulers.power_caps.gpus import Seen


def commands(limits: Iterable[tuple[str, int]]) -> str:
    """As a person would type it."""
    by_limit: dict[int, list[str]] = {}
    for name, limit_mw in limits:
        by_limit.setdefault(limit_mw, []).append(name.removeprefix("gpu"))
    return "; ".join(f"nvidia-smi -i {','.join(of)} -pl {_watts(mw)}" for mw, of in by_limit.items())


def nothing_set(node: str) -> str:
    """No cap is wanted, and none of ours can be there."""
    return f"{node} has no power cap of ours"


def of_plan(pace: float, moves: Sequence[tuple[Seen, Move | None]], missing: Sequence[str]) -> str:
    """One sentence about all GPUs; the same as long as nothing changes."""
    parts = [
        *_each("cap {who} at {watts} W" + f" (pace {pace:g})", moves, "set"),
        *_each("restore {who} to {watts} W", moves, "restore"),
        *(_each("{who} at {watts} W" + f" (pace {pace:g})", moves, "rest") if pace < 1 else ()),
        *_each("{who}: somebody has changed the limit to {now} W, which stays", moves, "theirs"),
        *(f"{gpu.name} {gpu.problem}" for gpu, _ in moves if gpu.problem),
        *(f"{uuid}, whose limit is ours, is not there" for uuid in missing),
    ]
    return "; ".join(parts) or "no power limit of ours is in force"


def of_gpus(seen: Sequence[Seen]) -> list[str]:
    """What can be capped, a line for GPUs that are alike."""
    alike: dict[str, list[str]] = {}
    for gpu in seen:
        alike.setdefault(gpu.problem or _range(gpu.limits), []).append(gpu.name)
    return [f"{', '.join(names)}: {text}" for text, names in alike.items()] or ["NVML lists none"]


def _range(limits: Limits | None) -> str:
    if limits is None:
        return ""
    now, least, most = (_watts(mw) for mw in (limits.now_mw, limits.least_mw, limits.default_mw))
    return f"{now} W now, {least} to {most} W can be set"


def _each(form: str, moves: Sequence[tuple[Seen, Move | None]], what: str) -> Iterable[str]:
    groups: dict[tuple[int, int], list[str]] = {}
    for gpu, one in moves:
        if one is not None and one.what == what and gpu.limits is not None:
            now_mw = gpu.limits.now_mw if what == "theirs" else 0
            groups.setdefault((one.limit_mw, now_mw), []).append(gpu.name)
    for (limit_mw, now_mw), names in groups.items():
        yield form.format(who=", ".join(names), watts=_watts(limit_mw), now=_watts(now_mw))


def _watts(limit_mw: int) -> str:
    return f"{limit_mw / 1000:g}"
