"""How much would be lost with a data folder."""

import pytest

from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.cli import unsent
from thermogate.core.errors import UnavailableError


def test_messages_of_every_node_that_ever_sampled_here_count(tmp_path):
    for node, messages in (("old", 2), ("new", 3), ("empty", 1)):
        with Spool(tmp_path / "spool" / node, SpoolSettings()) as spool:
            for _ in range(messages):
                seq = spool.append("telemetry", b"x")
            spool.ack(spool.id, [(seq, seq)])
    assert unsent.count(tmp_path) == unsent.count_as_owner(tmp_path) == {"old": 1, "new": 2}


def test_a_folder_without_a_spool_holds_none(tmp_path):
    assert unsent.count_as_owner(tmp_path) == {}


def test_a_spool_in_use_cannot_be_counted(tmp_path):
    with Spool(tmp_path / "spool" / "n17", SpoolSettings()):
        with pytest.raises(UnavailableError, match=r"cannot count .*another agent"):
            unsent.count_as_owner(tmp_path)


def test_a_count_that_takes_too_long_is_given_up(tmp_path):
    with Spool(tmp_path / "spool" / "n17", SpoolSettings()):
        pass
    with pytest.raises(UnavailableError, match=r"cannot count .*no answer in 0.001 s"):
        unsent.count_as_owner(tmp_path, timeout_s=0.001)  # less than Python takes to start


def test_what_names_a_folder_cannot_drive_the_terminal_of_root(tmp_path):
    with Spool(tmp_path / "spool" / "n17\x1b]0;root\x07", SpoolSettings()) as spool:
        with pytest.raises(UnavailableError) as refused:
            unsent.count_as_owner(tmp_path)
        spool.append("telemetry", b"x")
    assert str(refused.value).isprintable()
    assert unsent.count_as_owner(tmp_path) == {"n17-0-root": 1}
