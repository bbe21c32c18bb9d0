"""How much would be lost with a data folder."""

import pytest

from thermogate.agent.spool import Spool, SpoolSettings
from thermogate.cli import unsent
from thermogate.core.errors import UnavailableError


def test_messages_of_every_node_that_ever_sampled_here_count(tmp_path):
    for node, messages in (("old", 2), ("new", 3)):
        with Spool(tmp_path / "spool" / node, SpoolSettings()) as spool:
            for _ in range(messages):
                seq = spool.append("telemetry", b"x")
            spool.ack(spool.id, [(seq, seq)])
    assert unsent.count(tmp_path) == unsent.count_as_owner(tmp_path) == 3


def test_a_folder_without_a_spool_holds_none(tmp_path):
    assert unsent.count_as_owner(tmp_path) == 0


def test_a_spool_in_use_cannot_be_counted(tmp_path):
    with Spool(tmp_path / "spool" / "n17", SpoolSettings()):
        with pytest.raises(UnavailableError, match=r"cannot count .*another agent"):
            unsent.count_as_owner(tmp_path)
