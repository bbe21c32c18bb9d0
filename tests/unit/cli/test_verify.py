"""A verify that cannot fail would be worth nothing: what it has to find is put into the store here."""

import asyncio

import msgspec
import pytest

from tests.fakes import FakeClock
from thermogate.agent.config import RleSettings
from thermogate.agent.simulated import Fleet
from thermogate.agent.simulated_feed import SimulatedFeed
from thermogate.agent.simulated_journal import Journal
from thermogate.cli import simulate_fleet
from thermogate.cli.verify import over_http, samples_of, verify
from thermogate.core.clock import NS
from thermogate.core.errors import UnavailableError
from thermogate.core.wire import parse_points
from thermogate.dashboard import export

MS = 1_000_000
TICKS = 12
GPUS = 2


class Store:
    """The one question of `Query` that is asked, over points in a list, in chunks."""

    def __init__(self, points):
        self.points = points

    async def samples(self, *, start_ns, end_ns, node=None, device=None):
        found = [p for p in self.points if p.node == node and start_ns <= p.time_ns < end_ns]
        found.sort(key=lambda p: (p.measurement, p.device, p.time_ns))
        for at in range(0, len(found), 7):
            yield found[at : at + 7]

    async def chunks(self, node, start_ns, end_ns):
        async for chunk in self.samples(start_ns=start_ns, end_ns=end_ns, node=node):
            yield chunk


@pytest.fixture
def fleet(tmp_path):
    traces = simulate_fleet.traces([], RleSettings())
    made = Fleet(prefix="sim", nodes=3, gpus=GPUS, period_s=1.0, traces=traces)
    simulate_fleet.make(tmp_path, made)
    return made


async def generate(fleet, folder, ticks=TICKS, *, killed=()):
    """What every node has generated, as a store should have it; these nodes are killed after it."""
    points = []
    for index in range(fleet.nodes):
        clock = FakeClock()
        journal = Journal(simulate_fleet.journal(folder, fleet.name(index)))
        journal.__enter__()
        feed = SimulatedFeed(fleet, index, journal, clock)
        given = feed.ticks()
        for _ in range(ticks):
            coming = asyncio.ensure_future(anext(given))
            await clock.advance(1.0)
            points += parse_points((await coming).lines.encode())
        if index not in killed:
            journal.__exit__(None, None, None)
    return points


@pytest.fixture
async def points(fleet, tmp_path):
    return await generate(fleet, tmp_path)


async def check(fleet, folder, points, resolution_ns=1):
    return await verify(folder, fleet, samples_of(Store(points)), resolution_ns)


def changed(point, **changes):
    return msgspec.structs.replace(point, **changes)


async def test_a_store_that_has_everything_once_is_sound(fleet, tmp_path, points):
    verdict = await check(fleet, tmp_path, points)
    assert verdict.sound
    assert (verdict.nodes, verdict.sent, verdict.stored) == (3, len(points), len(points))
    assert len(points) == 3 * TICKS * (GPUS + 1)


@pytest.mark.parametrize("gone", [0, 17, -1])
async def test_a_missing_sample_is_found_and_named(fleet, tmp_path, points, gone):
    lost = points.pop(gone)
    verdict = await check(fleet, tmp_path, points)
    assert not verdict.sound
    assert (verdict.missing, verdict.stored, verdict.sent) == (1, len(points), len(points) + 1)
    (told,) = verdict.examples
    named = (told.what, told.node, told.device, told.time_ns)
    assert named == ("missing", lost.node, f"{lost.measurement}{lost.device}", lost.time_ns)


async def test_an_empty_store_lacks_everything(fleet, tmp_path, points):
    verdict = await check(fleet, tmp_path, [])
    assert (verdict.missing, verdict.stored, verdict.sound) == (len(points), 0, False)


async def test_a_sample_that_is_there_twice_is_found(fleet, tmp_path, points):
    verdict = await check(fleet, tmp_path, [*points, points[5]])
    assert (verdict.double, verdict.missing, verdict.differing, verdict.sound) == (1, 0, 0, False)


async def test_a_changed_value_is_found(fleet, tmp_path, points):
    temp_c = points[4].fields["temp_c"]
    points[4] = changed(points[4], fields=points[4].fields | {"temp_c": temp_c + 1e-6})
    verdict = await check(fleet, tmp_path, points)
    assert (verdict.differing, verdict.missing, verdict.sound) == (1, 0, False)
    assert f"generated was {temp_c}" in verdict.examples[0].text


async def test_a_value_that_is_not_there_and_one_that_should_not_be_are_found(fleet, tmp_path, points):
    without = {name: value for name, value in points[4].fields.items() if name != "temp_c"}
    points[4] = changed(points[4], fields=without)
    points[5] = changed(points[5], fields=points[5].fields | {"fan_ratio": 0.5})
    verdict = await check(fleet, tmp_path, points)
    assert (verdict.differing, verdict.sound) == (2, False)


@pytest.mark.parametrize("changes", [{"origin": ""}, {"origin": "replay"}, {"model": "H100"}])
async def test_a_sample_that_does_not_say_that_it_is_simulated_is_found(fleet, tmp_path, points, changes):
    points[4] = changed(points[4], **changes)
    assert (await check(fleet, tmp_path, points)).differing == 1


async def test_samples_of_two_devices_that_were_exchanged_are_found(fleet, tmp_path, points):
    first, second = points[0], points[1]
    points[0], points[1] = changed(first, fields=second.fields), changed(second, fields=first.fields)
    assert (await check(fleet, tmp_path, points)).differing == 2


@pytest.mark.parametrize("changes", [{"time_ns": 500}, {"device": "7"}, {"measurement": "node"}])
async def test_a_sample_that_nobody_generated_is_found(fleet, tmp_path, points, changes):
    moved = changes.get("time_ns", 0)
    stranger = changed(points[6], **{**changes, "time_ns": points[6].time_ns + moved})
    verdict = await check(fleet, tmp_path, [*points, stranger])
    assert (verdict.foreign, verdict.missing, verdict.sound) == (1, 0, False)


async def test_a_stamp_of_a_coarser_store_is_taken_for_what_was_rounded_and_only_there(
    fleet, tmp_path, points
):
    stamped = [changed(p, time_ns=p.time_ns + 123_456) for p in points]
    for index in range(fleet.nodes):
        path = simulate_fleet.journal(tmp_path, fleet.name(index))
        path.unlink()
        with Journal(path) as journal:
            for stamp in sorted({p.time_ns for p in stamped if p.node == fleet.name(index)}):
                journal.note(stamp)
    coarse = [changed(p, time_ns=p.time_ns // MS * MS) for p in stamped]
    assert (await check(fleet, tmp_path, coarse, MS)).sound
    assert not (await check(fleet, tmp_path, coarse[1:], MS)).sound
    assert not (await check(fleet, tmp_path, coarse)).sound


async def test_the_tick_in_which_the_simulation_was_killed_may_be_stored_or_not(fleet, tmp_path):
    points = await generate(fleet, tmp_path, killed=(1,))
    last_ns = max(p.time_ns for p in points if p.node == "sim-0002")
    without = [p for p in points if (p.node, p.time_ns) != ("sim-0002", last_ns)]
    assert len(points) - len(without) == GPUS + 1
    for stored in (points, without):
        verdict = await check(fleet, tmp_path, stored)
        assert verdict.sound
        assert (verdict.unsure, verdict.sent) == (GPUS + 1, len(without))
    assert not (await check(fleet, tmp_path, without[:-1])).sound


class Exporting:
    """The HTTP API's export, as text cut anywhere."""

    def __init__(self, store, cut=None):
        self._store, self._cut = store, cut

    async def export(self, *, node, start_ns, end_ns):
        text = ""
        async for piece in export.csv(self._store.chunks(node, start_ns, end_ns), agent=False):
            text += piece
        for at in range(0, self._cut or len(text), 100):
            yield text[at : min(at + 100, self._cut or len(text))]


async def test_samples_come_through_the_http_api_as_they_are(fleet, tmp_path, points):
    verdict = await verify(tmp_path, fleet, over_http(Exporting(Store(points))))
    assert verdict.sound
    assert verdict.stored == len(points)
    verdict = await verify(tmp_path, fleet, over_http(Exporting(Store(points[1:]))))
    assert verdict.missing == 1


async def test_an_answer_that_breaks_off_is_no_answer(fleet, tmp_path, points):
    with pytest.raises(UnavailableError, match="middle of a line"):
        await verify(tmp_path, fleet, over_http(Exporting(Store(points), cut=777)))


async def test_a_node_that_never_ticked_is_fine(fleet, tmp_path, points):
    simulate_fleet.journal(tmp_path, "sim-0003").unlink()
    rest = [p for p in points if p.node != "sim-0003"]
    verdict = await check(fleet, tmp_path, rest)
    assert verdict.sound
    assert verdict.sent == len(rest)


async def test_stamps_before_and_after_a_jump_of_the_clock_are_all_looked_for(fleet, tmp_path, points):
    path = simulate_fleet.journal(tmp_path, "sim-0001")
    stamps = sorted({p.time_ns for p in points if p.node == "sim-0001"})
    moved = {ns: ns + (3600 * NS if at > 5 else -5400 * NS if at > 3 else 0) for at, ns in enumerate(stamps)}
    path.unlink()
    with Journal(path) as journal:
        for ns in stamps:
            journal.note(moved[ns])
    stored = [changed(p, time_ns=moved[p.time_ns]) if p.node == "sim-0001" else p for p in points]
    assert (await check(fleet, tmp_path, stored)).sound
    assert (await check(fleet, tmp_path, points)).missing > 0
