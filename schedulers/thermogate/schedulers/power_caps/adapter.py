"""Power caps as a scheduler adapter: `plan` compares pace and limits, `perform` sets them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from thermogate.core.decision import TargetKind
from thermogate.schedulers.adapter import ActionError, Mark, Marks, Plan, Step
from thermogate.schedulers.power_caps import words
from thermogate.schedulers.power_caps.caps import Move, claim_of, detail_of, move
from thermogate.schedulers.power_caps.gpus import Gpus, Seen
from thermogate.schedulers.standing import Standing, Target

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Set(msgspec.Struct, frozen=True):
    """One limit to be set."""

    name: str
    uuid: str
    limit_mw: int


class PowerCaps:
    """The `Adapter` of this node's GPUs. Its marks are named by the GPUs' UUIDs."""

    name = "power-cap"
    kinds: tuple[TargetKind, ...] = ("node",)

    def __init__(self, gpus: Gpus, node: str, *, boot: str) -> None:
        self._gpus = gpus
        self._node = node
        self._boot = boot
        self._failing: set[str] = set()
        """What failed last time is set last and alone, so that it holds up no other."""

    async def plan(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        """Every GPU to its limit; one that does not answer is told, and its mark stays."""
        gone = [name for name, mark in marks.items() if self._outlived(mark)]
        if target[1] != self._node and not marks:
            return Plan(f"{target[1]} is not this node")
        if wanted.pace >= 1 and len(gone) == len(marks):
            return Plan(words.nothing_set(target[1]), forgets=tuple(gone))
        seen = await self._gpus.look()
        if seen and all(gpu.problem for gpu in seen):
            raise ActionError("; ".join(f"{gpu.name} {gpu.problem}" for gpu in seen))
        moves = [(gpu, self._move(gpu, marks.get(gpu.uuid), wanted.pace)) for gpu in seen]
        known = {gpu.uuid for gpu in seen if gpu.limits is not None}
        forgets = {gpu.uuid for gpu, one in moves if one is not None and one.what == "forget"}
        forgets |= {name for name in gone if name not in known}
        missing = [name for name in marks if name not in forgets | {gpu.uuid for gpu in seen}]
        return Plan(
            words.of_plan(wanted.pace, moves, missing),
            steps=tuple(self._steps(moves)),
            forgets=tuple(sorted(forgets)),
        )

    async def perform(self, step: Step) -> None:
        """Set all limits of a step side by side. Raises ActionError that names those that failed."""
        assert isinstance(step.data, tuple)
        failed = [one for one in await asyncio.gather(*map(self._set, step.data)) if one]
        if failed:
            raise ActionError("; ".join(failed))

    async def found(self) -> Mapping[Target, Marks]:
        """A limit bears no sign of who has set it."""
        return {}

    def _outlived(self, mark: Mark) -> bool:
        claim = claim_of(mark)
        return claim is None or claim.boot != self._boot

    def _move(self, gpu: Seen, mark: Mark | None, pace: float) -> Move | None:
        if gpu.limits is None:
            return None
        return move(gpu.limits, mark, pace, self._boot, was_reset=gpu.was_reset)

    def _steps(self, moves: Sequence[tuple[Seen, Move | None]]) -> Iterable[Step]:
        due = [(gpu, one) for gpu, one in moves if one is not None and one.what in ("set", "restore")]
        sound = [pair for pair in due if pair[0].uuid not in self._failing]
        for group in (sound, *([pair] for pair in due if pair[0].uuid in self._failing)):
            for what in ("set", "restore"):
                some = [pair for pair in group if pair[1].what == what]
                if some:
                    yield _step(some)

    async def _set(self, one: _Set) -> str:
        try:
            await self._gpus.set_limit(one.uuid, one.limit_mw)
        except ActionError as err:
            self._failing.add(one.uuid)
            return f"{one.name}: {err}"
        self._failing.discard(one.uuid)
        return ""


def boot_id() -> str:
    """Another for each boot of the machine. Raises ActionError: without it nothing may be set."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError as err:
        raise ActionError(f"{_BOOT_ID}: {err.strerror}") from err


def _step(some: Sequence[tuple[Seen, Move]]) -> Step:
    sets = {gpu.uuid: detail_of(one.claim) for gpu, one in some if one.claim is not None}
    return Step(
        words.commands((gpu.name, one.limit_mw) for gpu, one in some),
        data=tuple(_Set(gpu.name, gpu.uuid, one.limit_mw) for gpu, one in some),
        sets=sets,
        clears=tuple(gpu.uuid for gpu, one in some if one.what == "restore"),
    )
