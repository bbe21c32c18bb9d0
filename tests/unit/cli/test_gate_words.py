import argparse
import time

import pytest
from msgspec.structs import replace

from thermogate.cli import gate_words
from thermogate.cli import main as cli
from thermogate.core.clock import NS
from thermogate.core.decision import State

NOW_NS = 1_763_712_000_000_000_000


def word(*arguments, action="hold", **given):
    args = argparse.Namespace(
        action=action, kind="node", target="n17", for_="2h", start=None, why="fan is being changed", pace=None
    )
    args.__dict__.update(given)
    return gate_words.word(args, "alice", NOW_NS)


def test_a_word_has_a_reason_a_name_and_an_end():
    said = word()
    assert (said.state, said.pace, said.by, said.why) == (State.HOLD, 1.0, "alice", "fan is being changed")
    assert (said.from_ns, said.until_ns) == (NOW_NS, NOW_NS + 7200 * NS)
    assert (said.kind, said.target) == ("node", "n17")


def test_a_word_of_a_clock_that_is_ahead_can_be_taken_back():
    ahead_ns = time.time_ns() + 3600 * NS
    ahead = replace(word(), issued_at_ns=ahead_ns, from_ns=ahead_ns, until_ns=ahead_ns + 3600 * NS)
    taken_back = gate_words.over("node", "n17", "bob", ahead)
    assert ahead.issued_at_ns < taken_back.issued_at_ns == taken_back.until_ns


@pytest.mark.parametrize(
    ("action", "state", "pace"),
    [
        ("hold", State.HOLD, 1.0),
        ("repair", State.REPAIR, 0.0),
        ("run", State.RUN, 1.0),
        ("maintain", State.SYNC, 1.0),
    ],
)
def test_actions_are_states(action, state, pace):
    said = word(action=action)
    assert (said.state, said.pace) == (state, pace)


def test_a_window_can_begin_later():
    said = word(start="+30m", for_="1h")
    assert (said.from_ns, said.until_ns) == (NOW_NS + 1800 * NS, NOW_NS + 5400 * NS)
    assert word(start="2025-11-21T09:00:00Z").from_ns == NOW_NS + 3600 * NS


def test_the_fleet_is_all_of_it():
    said = word(kind="fleet", target=None)
    assert (said.kind, said.target, gate_words.name(said)) == ("fleet", "all", "fleet")


def test_a_word_that_takes_back_is_over_as_it_is_said():
    said = gate_words.over("node", "n17", "alice")
    assert said.until_ns == said.from_ns == said.issued_at_ns
    assert abs(said.issued_at_ns - time.time_ns()) < 60 * NS


GOOD = ("hold", "node", "n17", "--for", "2h", "--why", "w")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hold", "node", "n17", "--for", "2h"), "--why is missing"),
        (("hold", "node", "n17", "--for", "2h", "--why", "  "), "--why is missing"),
        (("hold", "node", "n17", "--for", "2h", "--why", "a\nb"), "one line"),
        (("hold", "node", "n17", "--for", "2h", "--why", "x" * 301), "300 characters at most"),
        (("hold", "node", "n17", "--why", "w"), "must have an end: --for 2h"),
        (("hold", "node", "n17", "--why", "w", "--for", "31d"), "30 days at most"),
        (("hold", "node", "n17", "--why", "w", "--for", "0s"), "its end lies in the past"),
        (("hold", "node", "n17", "--why", "w", "--for", "soon"), "is not a duration"),
        ((*GOOD, "--from", "2h"), "in half an hour is +30m"),
        ((*GOOD, "--from", "+31d"), "more than 30 days from now"),
        ((*GOOD, "--pace", "1.5"), "0 to 1"),
        ((*GOOD, "--pace", "nan"), "0 to 1"),
        ((*GOOD, "--by", ""), "no key yet"),
        (("hold", "node", "--for", "2h", "--why", "w"), "which node?"),
        (("hold", "node", "a/b", "--for", "2h", "--why", "w"), "is no name of a node"),
        (("hold", "fleet", "n17", "--for", "2h", "--why", "w"), "there is one fleet"),
        (("clear", "job"), "which job?"),
        (GOOD, "no key yet: `thermogate keys make operator`"),
    ],
)
def test_nonsense_is_refused_before_anybody_hears_of_it(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    status = cli.main(["gate", *arguments, "--broker", "mqtt://127.0.0.1:9"])
    assert status == 78
    assert said in capsys.readouterr().err
