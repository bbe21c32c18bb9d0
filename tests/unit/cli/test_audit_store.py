from msgspec.structs import replace

from tests.signed import DECISION, KEY
from thermogate.analytics.audit.records import of_entry
from thermogate.cli.audit_store import Comparison
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision

ALL = (0, 2**62)
HOUR_NS = 3600 * NS


class Store:
    """Decisions as a store answers them: newest first, so many at most."""

    def __init__(self, *decisions: GateDecision) -> None:
        self._decisions = sorted(decisions, key=lambda one: one.issued_at_ns, reverse=True)
        self.asked = 0

    async def decisions(self, *, start_ns, end_ns, target=None, limit=1000):
        self.asked += 1
        return [one for one in self._decisions if start_ns <= one.issued_at_ns < end_ns][:limit]


def decision(number: int, **changes) -> GateDecision:
    stamp_ns = DECISION.issued_at_ns + number * HOUR_NS
    return replace(DECISION, id=f"{number:026d}", seq=number, issued_at_ns=stamp_ns, **changes)


def recorded(*decisions: GateDecision, within=ALL) -> Comparison:
    log = Comparison(*within)
    for n, one in enumerate(decisions, start=1):
        log.add(of_entry(n, 0, "", (KEY.seal(one)[1], b"{}"))[0])
    return log


async def test_a_store_that_has_the_same_is_no_finding_whoever_signed():
    decisions = [decision(number) for number in range(4)]
    assert await recorded(*decisions).compare(Store(*decisions)) == []
    assert await recorded().compare(Store(*decisions)) == []


async def test_what_only_one_of_both_has_is_named():
    one, two, three = (decision(number) for number in range(3))
    assert await recorded(one, two, three).compare(Store(one, three)) == [
        f"record 2 (decision {two.id}) is in the log and not in the store"
    ]
    assert await recorded(one, three).compare(Store(one, two, three)) == [
        f"decision {two.id} (node/n17, HOLD) is in the store and not in the log"
    ]


async def test_the_newest_may_still_be_on_its_way_to_the_store():
    one, two = decision(0), decision(1)
    assert await recorded(one, two).compare(Store(one)) == []


async def test_one_that_is_another_in_the_store_is_named():
    one, two = decision(0), decision(1)
    found = await recorded(one, two).compare(Store(replace(one, pace=0.1), two))
    assert found == [f"record 1: decision {one.id} (node/n17, HOLD) is another in the store"]


async def test_only_the_range_counts():
    one, two, three = (decision(number) for number in range(3))
    log = recorded(one, two, three, within=(two.issued_at_ns, three.issued_at_ns + 1))
    assert await log.compare(Store(two, three)) == []


async def test_more_than_a_page_is_read_also_of_one_instant():
    decisions = [decision(number // 700) for number in range(2500)]
    decisions = [replace(one, id=f"{n:026d}") for n, one in enumerate(decisions)]
    store = Store(*decisions)
    assert await recorded(*decisions).compare(store) == []
    assert store.asked > 2
