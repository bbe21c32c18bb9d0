"""What is in force: of one decision after another, by expiry, through SYNC, and over a restart."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.schedulers_contract import decision_of
from tests.fakes import FakeClock
from thermogate.core.admission import Admission
from thermogate.core.errors import ConfigError
from thermogate.core.wire import encode, gate_topic
from thermogate.schedulers.standing import FREE, follow, parse_target, says
from thermogate.schedulers.standings import Remembered, Standings

NODE = ("node", "n17")


class Told:
    """Standings to which decisions are told."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.seq = 0
        self.standings = Standings(Admission(None), self.clock)

    def say(self, state, pace=1.0, mode="enforce", for_s=100.0, target=NODE):
        self.seq += 1
        decision = decision_of(target, state, pace, mode, self.seq, self.clock.utc_ns(), for_s)
        self.take(decision)
        return decision

    def take(self, decision):
        self.standings.take(gate_topic(decision.kind, decision.target), encode(decision))

    @property
    def now(self):
        return self.standings.get(NODE)


@pytest.fixture
def told():
    return Told()


def test_without_a_decision_work_runs_at_full_pace(told):
    assert (told.now.state, told.now.pace, told.now.held, told.now.why) == ("RUN", 1.0, False, "")


def test_a_shadow_decision_never_acts_and_says_what_it_would(told):
    told.say("REPAIR", 0.0, "shadow")
    assert (told.now.state, told.now.pace, told.now.held) == ("RUN", 1.0, False)
    assert (told.now.would.state, told.now.would.pace) == ("REPAIR", 0.0)


def test_a_shadow_run_or_sync_would_change_nothing(told):
    told.say("RUN", mode="shadow")
    assert told.now.would is None
    told.say("SYNC", mode="shadow")
    assert told.now.would is None


def test_sync_keeps_what_was_and_a_later_decision_ends_it(told):
    told.say("HOLD", 0.5)
    told.say("SYNC")
    assert (told.now.state, told.now.pace, told.now.keep) == ("HOLD", 0.5, True)
    told.say("RUN")
    assert (told.now.state, told.now.pace, told.now.keep) == ("RUN", 1.0, False)


def test_a_pace_outside_of_0_to_1_is_brought_inside():
    for pace, obeyed in ((7.0, 1.0), (-1.0, 0.0)):
        assert follow(FREE, decision_of(NODE, "RUN", pace)).pace == obeyed


def test_renewals_are_no_changes_and_many_changes_are_told_as_one(told):
    told.say("HOLD")
    (change,) = told.standings.changes()
    assert (change.kind, change.target, change.before, change.after.state) == ("node", "n17", FREE, "HOLD")
    told.say("HOLD")
    assert told.standings.changes() == []
    told.say("RUN")
    told.say("HOLD")
    assert told.standings.changes() == []
    told.say("REPAIR")
    told.say("RUN")
    (change,) = told.standings.changes()
    assert (change.before.state, change.after.state) == ("HOLD", "RUN")


async def test_what_expires_is_a_change(told):
    told.say("HOLD", for_s=100)
    told.standings.changes()
    await told.clock.advance(99.9)
    told.standings.expire()
    assert told.now.held
    await told.clock.advance(0.2)
    told.standings.expire()
    (change,) = told.standings.changes()
    assert (change.before.state, change.after) == ("HOLD", FREE)
    assert told.standings.all() == {}
    assert told.standings.next_end_s() is None


async def test_a_clock_that_is_set_back_holds_nobody_for_longer(told):
    told.say("HOLD", for_s=100)
    told.clock.jump_utc(-3600)
    await told.clock.advance(100.1)
    told.standings.expire()
    assert told.now == FREE


def test_a_clock_that_is_set_forward_lets_go_at_once(told):
    told.say("HOLD", for_s=100)
    told.clock.jump_utc(3600)
    told.standings.expire()
    assert told.now == FREE


async def test_a_retained_decision_holds_no_longer_than_what_is_left_of_it(told):
    decision = decision_of(NODE, "HOLD", seq=1, now_ns=told.clock.utc_ns(), for_s=100)
    await told.clock.advance(60)
    told.take(decision)
    await told.clock.advance(40.1)
    told.standings.expire()
    assert told.now == FREE


def test_what_is_refused_changes_nothing_and_is_counted(told, caplog):
    told.say("HOLD")
    told.standings.take("thermogate/v1/gate/node/n17", b"")
    told.standings.take("thermogate/v1/gate/node/n17", b"{}")
    told.standings.take("thermogate/v1/gate/node/n17", b"{}")
    told.standings.take("thermogate/v1/gate/node/n18", encode(decision_of(NODE, "RUN", seq=9)))
    assert told.now.state == "HOLD"
    assert told.standings.refused == {"unsigned": 1, "malformed": 2, "misplaced": 1}
    assert len([one for one in caplog.records if "not obeyed" in one.message]) == 3


def test_an_older_decision_that_is_played_again_changes_nothing(told):
    run = told.say("RUN")
    told.say("HOLD")
    told.take(run)
    assert told.now.state == "HOLD"
    assert told.standings.refused == {"replayed": 1}


def test_after_a_restart_it_knows_what_was_in_force_and_what_was_said_before(told):
    told.say("HOLD", 0.5)
    run = told.say("RUN")
    told.say("HOLD", 0.5)
    told.say("SYNC")
    kept = msgspec.json.decode(msgspec.json.encode(told.standings.remember()), type=Remembered)
    told.standings = Standings(Admission(None, seqs=kept.seqs), told.clock)
    told.standings.resume(kept)
    assert (told.now.state, told.now.pace, told.now.keep) == ("HOLD", 0.5, True)
    told.take(run)
    assert told.now.held


async def test_after_a_restart_what_has_expired_meanwhile_is_forgotten(told):
    told.say("HOLD", for_s=100)
    kept = told.standings.remember()
    await told.clock.advance(101)
    told.standings = Standings(Admission(None), told.clock)
    told.standings.resume(kept)
    assert told.now == FREE


@given(
    st.lists(st.tuples(st.sampled_from(["RUN", "HOLD", "REPAIR", "SYNC"]), st.floats(0, 1), st.booleans()))
)
def test_whatever_is_decided_what_is_in_force_is_that_of_the_last_word_that_acts(words):
    standing, expected = FREE, ("RUN", 1.0)
    for state, pace, enforce in words:
        standing = follow(standing, decision_of(NODE, state, pace, "enforce" if enforce else "shadow"))
        if not enforce:
            expected = ("RUN", 1.0)
        elif state != "SYNC":
            expected = (state, pace)
        assert (standing.state, standing.pace) == expected
        assert standing.held == (expected[0] != "RUN")
        assert says(standing) == says(standing)


@pytest.mark.parametrize("text", ["", "n17", "node/", "node/a/b", "rack/r1", "node/+", "node/a b", "node/.."])
def test_a_target_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="expected KIND/NAME"):
        parse_target(text)


def test_a_target_is_kind_and_name():
    assert parse_target("job/train-7") == ("job", "train-7")
