"""What the gate asks of a collector over HTTP."""

from tests.unit.analytics.making import at, event
from thermogate.cli import past
from thermogate.cli.past import RemotePast


class Pages:
    """A collector that gives so many events a page, newest first."""

    def __init__(self, events):
        self.events_ = sorted(events, key=lambda one: -one.time_ns)
        self.asked = 0

    async def events(self, *, start_ns, end_ns, limit):
        self.asked += 1
        return [one for one in self.events_ if start_ns <= one.time_ns < end_ns][:limit]


async def test_jobs_are_found_behind_pages_of_other_events():
    began = event(1, "job_began")
    noise = [event(10 + n // 2, "collapse_began", device=f"gpu{n % 2}") for n in range(25_000)]
    remote = Pages([began, *noise])
    found = await RemotePast(remote).events(start_ns=at(0), end_ns=at(30_000), kinds=("job_began",), limit=10)
    assert found == [began]
    assert remote.asked == 3


async def test_more_events_of_one_instant_than_a_page_has_end_the_search():
    crowd = [event(5, "collapse_began", device=f"gpu{n}") for n in range(past._PAGE + 1)]
    remote = Pages(crowd)
    end_ns = at(5) + 1
    assert await RemotePast(remote).events(start_ns=0, end_ns=end_ns, kinds=("xid",), limit=10) == []
    assert remote.asked == 1
