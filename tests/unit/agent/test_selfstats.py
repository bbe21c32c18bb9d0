import pytest

from tests.fakes import FakeClock
from thermogate.agent.budget import BudgetSettings
from thermogate.agent.config import AgentSettings
from thermogate.agent.feed import Tick
from thermogate.agent.selfstats import SelfStats
from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.core import wire
from thermogate.core.clock import NS

SETTINGS = AgentSettings(selfstats_interval_s=10.0)
BUDGET = BudgetSettings(cpu_ratio=0.02, window_s=60.0)


class Feed:
    node = "n17"
    origin = None
    frugal = False

    def counters(self):
        return {"ticks_count": 7, "late_count": 1, "skipped_count": 2, "sweep_s": 0.0125}

    def economize(self, *, frugal):
        self.frugal = frugal


class Uplink:
    ack_age_s = None


class Agent:
    """Everything that self-statistics look at, on a clock that moves when told."""

    def __init__(self, folder, *, budget=None, **spool):
        self.clock = FakeClock()
        self.feed, self.uplink = Feed(), Uplink()
        self.spool = Spool(folder, SpoolSettings(**spool), self.clock)
        self.cpu_s = 0.0
        self.stats = SelfStats(self.feed, self.spool, self.uplink, SETTINGS, budget, cpu_s=lambda: self.cpu_s)

    def pass_time(self, seconds):
        self.clock.pass_time(seconds)
        line, events = self.stats.step(Tick(self.clock.utc_ns(), self.clock.steady_s(), ()))
        point = wire.parse_points(wire.format_header("n17", "ab", 1) + line.encode())[0] if line else None
        return point and point.fields, events


@pytest.fixture
def agent(tmp_path):
    agent = Agent(tmp_path / "spool")
    with agent.spool:
        yield agent


def test_the_line_comes_at_its_interval(agent):
    told = [agent.pass_time(1.0)[0] is not None for _ in range(21)]
    assert [second for second, line in enumerate(told) if line] == [0, 10, 20]


def test_the_line_says_what_the_spool_holds_and_how_old_it_is(agent):
    agent.spool.append("telemetry", b"x")
    agent.uplink.ack_age_s = 4.5
    fields, _ = agent.pass_time(30.0)
    assert fields["spool_depth_count"] == 1
    assert fields["spool_oldest_s"] == pytest.approx(30.0)
    assert fields["ack_age_s"] == 4.5
    assert (fields["ticks_count"], fields["sweep_s"], fields["frugal"]) == (7, 0.0125, 0)
    assert fields["rss_bytes"] > 1e6


def test_what_there_is_not_is_absent(agent):
    fields, _ = agent.pass_time(10.0)
    assert not {"spool_oldest_s", "ack_age_s"} & fields.keys()


def test_a_replay_has_no_line_of_its_own(agent):
    agent.feed.origin = "replay"
    assert agent.pass_time(10.0) == (None, [])


def test_over_its_budget_the_agent_sheds_optional_sensors_and_takes_them_back(tmp_path):
    agent = Agent(tmp_path / "spool", budget=BUDGET)
    told = []
    with agent.spool:
        for _ in range(200):
            agent.cpu_s += 0.05 if agent.feed.frugal else 0.5
            fields, events = agent.pass_time(10.0)
            assert fields["frugal"] == agent.feed.frugal
            told += [(event.event, agent.feed.frugal) for event in events]
    assert told[:2] == [("frugal_began", True), ("frugal_ended", False)]


def test_without_a_budget_nothing_is_shed(agent):
    for _ in range(20):
        agent.cpu_s += 10.0
        assert agent.pass_time(10.0)[1] == []
    assert not agent.feed.frugal


def test_what_was_dropped_is_told_with_how_much_how_old_and_why(tmp_path):
    agent = Agent(tmp_path / "spool", max_age_s=3600.0)
    with agent.spool:
        for _ in range(5):
            agent.clock.pass_time(1.0)
            agent.spool.append("telemetry", b"x" * 100)
        agent.clock.pass_time(2 * 3600.0)
        agent.spool.append("telemetry", b"x")
        _, (event,) = agent.pass_time(10.0)
        assert agent.pass_time(10.0)[1] == []
    assert event.event == "samples_dropped"
    assert (
        event.text
        == "5 messages were dropped before a store had them: they were too old (agent.spool.max_age_s)"
    )
    assert event.data["dropped_count"] == 5.0
    assert event.data["oldest_s"] == pytest.approx(7214.0, abs=60)
    assert event.time_ns == agent.clock.utc_ns() - 10 * NS


@pytest.mark.parametrize(("ack_age_s", "sheds"), [(1.0, False), (None, True), (3600.0, True)])
def test_a_backlog_that_is_being_sent_is_no_sensors_fault_but_one_that_waits_is_none_at_all(
    tmp_path, ack_age_s, sheds
):
    agent = Agent(tmp_path / "spool", budget=BUDGET)
    agent.uplink.ack_age_s = ack_age_s
    with agent.spool:
        for _ in range(SETTINGS.uplink.window + 1):
            agent.spool.append("telemetry", b"x")
        for _ in range(20):
            agent.cpu_s += 0.5
            agent.pass_time(10.0)
    assert agent.feed.frugal == sheds
