"""A whole fleet with every policy enforced: nodes, jobs, capped groups, operators, silence and restarts."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analytics.enginery import Fleet
from tests.unit.analytics.making import START_NS, at, event, point
from thermogate.analytics.config import (
    AnalyticsSettings,
    BreakerSettings,
    GateSettings,
    GroupSettings,
    IdleSettings,
    ModeSettings,
)
from thermogate.analytics.inputs import recompute
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.gate_messages import Override

NODES = [f"n{number}" for number in range(6)]
ENFORCED = dict.fromkeys(ModeSettings.__struct_fields__, "enforce")
SETTINGS = AnalyticsSettings(
    gate=GateSettings(eased_most_count=2, silent_most_s=200.0),
    breaker=BreakerSettings(fleet_share=0.5),
    groups=(
        GroupSettings(name="feed", nodes=("n[0-3]",), power_cap_w=1800.0),
        GroupSettings(name="rack", nodes=("n[2-5]",), power_cap_w=2100.0),
    ),
    idle=IdleSettings(start_s=60.0, after_s=60.0, window_s=5.0, retry_s=120.0),
)
_TEMPS = st.sampled_from([55.0, 80.0, 89.0])
_LOADS = st.sampled_from([(0.0, 60.0), (0.95, 400.0), (0.97, 700.0), (0.95, None)])
SAMPLED = st.tuples(
    st.just("samples"), st.sets(st.sampled_from(NODES), min_size=1), _TEMPS, _LOADS, st.integers(20, 70)
)
EVENTS = st.tuples(
    st.just("event"),
    st.sampled_from(NODES),
    st.sampled_from(["gpu_lost", "gpu_back", "driver_hung", "driver_back", "collapse_began", "xid"]),
)
JOBS = st.tuples(st.sampled_from(["job_began", "job_ended"]), st.sampled_from(NODES), st.sampled_from("12"))
WORDS = st.tuples(
    st.just("word"),
    st.sampled_from(
        [
            ("node", "n1"),
            ("node", "n2"),
            ("group", "feed"),
            ("fleet", "all"),
            ("job", "slurm-1"),
            ("node", "n9"),
        ]
    ),
    st.sampled_from(list(State)),
    st.integers(-20, 60),
    st.integers(1, 120),
)
QUIET = st.tuples(st.just("quiet"), st.sampled_from([40, 130, 260]))
MOVES = st.lists(st.one_of(SAMPLED, SAMPLED, SAMPLED, EVENTS, JOBS, WORDS, QUIET), min_size=6, max_size=10)


class Played:
    """A fleet to which moves happen, second by second."""

    def __init__(self, moves):
        self.fleet = Fleet(settings=SETTINGS, **ENFORCED)
        self.held_most = 0
        for move in moves:
            getattr(self, move[0])(*move[1:])

    @property
    def now_s(self):
        return (self.fleet.clock.utc_ns() - START_NS) / NS

    def samples(self, nodes, temp_c, load, count):
        util, power_w = load
        for _ in range(count):
            self.tick()
            for name in sorted(nodes):
                sample = point(
                    self.now_s, temp_c=temp_c, util_ratio=util, power_w=power_w, power_limit_w=700.0
                )
                self.fleet.engine.on_points(name, [msgspec.structs.replace(sample, node=name)])

    def event(self, node, kind):
        more = {"xid": 79} if kind == "xid" else {}
        self.fleet.engine.on_event(
            msgspec.structs.replace(event(self.now_s, kind, device="gpu1", **more), node=node)
        )

    def job_began(self, node, job, kind="job_began"):
        told = event(self.now_s, kind)
        data = {"job": f"slurm:{job}", "manager": "slurm", "user": "ada"}
        self.fleet.engine.on_event(msgspec.structs.replace(told, node=node, data=data))

    def job_ended(self, node, job):
        self.job_began(node, job, "job_ended")

    def word(self, about, state, from_s, for_s):
        kind, target = about
        word = Override(
            id="w",
            kind=kind,
            target=target,
            state=state,
            issued_at_ns=at(self.now_s),
            from_ns=at(self.now_s + from_s),
            until_ns=at(self.now_s + from_s + for_s),
            why="a fan is changed",
            by="ada",
        )
        self.fleet.engine.on_override(word)

    def quiet(self, seconds):
        for _ in range(seconds):
            self.tick()

    def tick(self):
        self.fleet.tick(1)


@given(MOVES)
@settings(max_examples=8, deadline=None)
def test_every_decision_about_a_mixed_fleet_can_be_made_again_from_its_inputs(moves):
    fleet = Played(moves).fleet.take()
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said


def test_the_moves_reach_every_kind_of_decision():
    hot = ("samples", set(NODES), 89.0, (0.97, 700.0), 70)
    idle = ("samples", {"n4", "n5"}, 55.0, (0.0, 60.0), 70)
    fleet = Played(
        [
            ("job_began", "n4", "1"),
            idle,
            hot,
            ("event", "n0", "gpu_lost"),
            ("quiet", 130),
            ("word", ("fleet", "all"), State.SYNC, 0, 30),
            hot,
            ("quiet", 260),
        ]
    ).fleet.take()
    policies = {one.policy for one in fleet.said}
    assert {"thermal", "hardware", "idle", "power", "operator", "engine"} <= policies
    assert [recompute(inputs) for inputs in fleet.inputs] == fleet.said
