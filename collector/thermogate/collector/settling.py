"""What the store has taken and may still lose in a crash: acknowledged to nodes when it no longer can."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from thermogate.collector.acks import Acker
from thermogate.collector.checking import Checked, Receipt
from thermogate.collector.counters import Counters
from thermogate.collector.store.base import Settling
from thermogate.collector.writing import Taken
from thermogate.core.model import Status

log = logging.getLogger(__name__)

_HELD = 20_000
"""Items without a spool that are held to be written again, about 50 MB: a status of every node of a large
fleet. More are not held."""


class Settler:
    """Acknowledges what is safe; what was lost with the store is left to the spools it comes from.

    Statuses, decisions and events that come from no spool are held until they are safe, and otherwise
    given to `again` to be written once more, those that are `still_wanted` then.
    """

    def __init__(self, acker: Acker, counters: Counters, again: Callable[[Sequence[Checked]], None]) -> None:
        self._acker = acker
        self._counters = counters
        self._again = again
        self._held_count = 0
        self._newest: dict[str, int] = {}
        self._lost_count = 0

    def begun(self, items: Sequence[Checked]) -> None:
        """These are about to be written, in this order."""
        for item in items:
            if isinstance(item.content, Status):
                self._newest[item.content.node] = id(item)

    def taken(self, taken: Taken) -> None:
        """The store has taken these."""
        receipts = [item.receipt for item in taken.items if item.receipt is not None]
        if taken.settling is None:
            self._acker.stored(receipts)
            return
        homeless = [item for item in taken.items if item.receipt is None]
        held = homeless[: _HELD - self._held_count]
        self._held_count += len(held)
        taken.settling.add_done_callback(partial(self._settled, receipts, held, len(homeless)))

    def _settled(
        self, receipts: Sequence[Receipt], held: Sequence[Checked], homeless: int, settling: Settling
    ) -> None:
        self._held_count -= len(held)
        if settling.cancelled():
            return  # the store is closing
        if settling.exception() is None and settling.result():
            self._acker.stored(receipts)
            return
        lost = len(receipts) + homeless
        self._counters.unsettled += lost
        if not self._lost_count:  # told when all that the crash ends has been counted
            asyncio.get_running_loop().call_soon(self._tell)
        self._lost_count += lost
        self._again(held)

    def _tell(self) -> None:
        log.warning(
            "the store may have lost %d messages in a crash: they come or are written again", self._lost_count
        )
        self._lost_count = 0

    def still_wanted(self, items: Sequence[Checked]) -> list[Checked]:
        """Without statuses of which a newer one has begun to be written since."""
        return [item for item in items if self._is_newest(item)]

    def _is_newest(self, item: Checked) -> bool:
        # held items are alive, so that no newer one can have the same id
        return not isinstance(item.content, Status) or self._newest.get(item.content.node) == id(item)
