"""The GPUs of this node, each behind a lane of its own: one that hangs costs itself."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.power_caps import nvml
from thermogate.schedulers.power_caps.caps import Limits
from thermogate.schedulers.power_caps.lane import Lane

T = TypeVar("T")

_START_TIMES = 3
"""Starting NVML wakes every GPU and may take this many times as long as another call."""


class Seen(msgspec.Struct, frozen=True):
    """One GPU as it was found: its limits, or why they are not known.

    `name` is "gpu0" by NVML's index; `uuid` is "" where it does not tell. `was_reset`: it was lost since its
    limit was last set by us.
    """

    name: str
    uuid: str
    limits: Limits | None = None
    problem: str = ""
    was_reset: bool = False


class Gpus:
    """Looks at the limits of all GPUs, and sets them.

    NVML stays open: without persistence mode the driver forgets limits when its last user leaves. It is
    started again when GPUs have come or gone, but not while a call hangs.
    """

    def __init__(self, call_timeout_s: float, sysfs: Path = Path("/sys")) -> None:
        self._timeout_s = call_timeout_s
        self._sysfs = sysfs
        self._driver = Lane("the NVIDIA driver")
        self._lanes: dict[str, Lane] = {}
        self._listed: list[nvml.Listed] = []
        self._handles: dict[str, Any] = {}
        self._lost: set[str] = set()
        self._bus: frozenset[tuple[str, int]] | None = None

    async def look(self) -> list[Seen]:
        """Every GPU, in the order of NVML. Raises ActionError when there is no working driver."""
        await self._start_if_due()
        return list(await asyncio.gather(*(self._look_at(one) for one in self._listed)))

    async def set_limit(self, uuid: str, limit_mw: int) -> None:
        """Raises ActionError; after HungError it may be set all the same, later."""
        try:
            await self._call(uuid, partial(nvml.set_limit, self._handles.get(uuid), limit_mw))
        except nvml.LostError:
            self._lose(uuid)
            raise
        self._lost.discard(uuid)

    def close(self) -> None:
        """Let every thread end, and NVML with them; waits for none."""
        for lane in self._lanes.values():
            lane.stop()
        self._driver.stop()

    async def _start_if_due(self) -> None:
        bus = nvml.on_the_bus(self._sysfs)
        hangs = any(lane.hung for lane in self._lanes.values())
        if self._bus is None or (bus != self._bus and not hangs):
            self._lost |= set(self._handles) if self._bus is not None else set()
            self._listed = await self._driver.call(
                partial(_start, again=self._bus is not None), _START_TIMES * self._timeout_s
            )
            self._handles = {one.uuid: one.handle for one in self._listed if one.uuid}
            self._bus = bus

    async def _look_at(self, one: nvml.Listed) -> Seen:
        if not one.uuid:
            return Seen(one.name, "", problem="does not tell its UUID")
        try:
            found = await self._call(one.uuid, partial(self._limits, one.uuid))
        except nvml.LostError:
            self._lose(one.uuid)
            return Seen(one.name, one.uuid, problem="is lost")
        except nvml.NoLimitError:
            return Seen(one.name, one.uuid, problem="has no power limit that can be set")
        except ActionError as err:
            return Seen(one.name, one.uuid, problem=str(err))
        return Seen(one.name, one.uuid, found, was_reset=one.uuid in self._lost)

    def _limits(self, uuid: str) -> Limits:
        if self._handles.get(uuid) is None:
            self._handles[uuid] = nvml.handle_of(uuid)
        return nvml.limits(self._handles[uuid])

    def _lose(self, uuid: str) -> None:
        self._lost.add(uuid)
        self._handles[uuid] = None

    async def _call(self, uuid: str, what: Callable[[], T]) -> T:
        lane = self._lanes.setdefault(uuid, Lane(uuid))
        return await lane.call(what, self._timeout_s)


def _start(*, again: bool) -> list[nvml.Listed]:
    if again:
        nvml.stop()
    nvml.start()
    with contextlib.ExitStack() as stack:
        stack.callback(nvml.stop)
        listed = nvml.gpus()
        stack.pop_all()
    return listed
