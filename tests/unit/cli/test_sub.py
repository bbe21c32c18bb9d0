"""What `thermogate sub` makes of a message, and where it reads how to connect."""

import argparse
import asyncio

import pytest

from tests.contract.making import event
from tests.unit.collector.fake_broker import received
from thermogate.cli import sub
from thermogate.core.errors import ConfigError
from thermogate.core.wire import encode, node_topic


def settings(text, folder, broker=None):
    file = folder / "thermogate.toml"
    file.write_text(text)
    return asyncio.run(sub.settings(argparse.Namespace(config=file, broker=broker)))


def test_configuration_is_that_of_every_other_command(tmp_path):
    text = '[mqtt]\nurl = "mqtts://b"\nusername = "thermogate-reader"\n[agent]\nnode = "n17"\n'
    found = settings(text, tmp_path)
    assert (found.url, found.username) == ("mqtts://b", "thermogate-reader")
    other = settings(text, tmp_path, broker="mqtt://c:1884")
    assert (other.url, other.username) == ("mqtt://c:1884", "thermogate-reader")


def test_setting_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"mqtt\.usrname: no such setting"):
        settings('[mqtt]\nusrname = "x"\n', tmp_path)


def test_message_is_one_line_and_steers_no_terminal():
    hot = event(text="hot\x1b]52;c;eA==\x07\nnode/n2/event: cool", event="xid")
    line = sub.describe(received(node_topic("n1", "event"), encode(hot)))
    assert line == "node/n1/event: xid: hot?]52;c;eA==??node/n2/event: cool"
    assert sub.describe(received("thermogate/v1/x/y/\x1bz", b"\x1b")).startswith("x/y/?z: MALFORMED")
    assert (
        sub.describe(received("thermogate/v1/applied/node/n1", b"\x9b\x1b[2J"))
        == "applied/node/n1: \ufffd?[2J"
    )
    assert sub.describe(received(node_topic("n1", "status"), b"")) == "node/n1/status: cleared"
