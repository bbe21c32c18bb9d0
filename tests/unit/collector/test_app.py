"""What a collector asks a broker for, and as whom."""

from pathlib import Path

import msgspec
import pytest

from tests.contract.memory_store import MemoryStore
from thermogate.collector.app import Collector, subscriptions
from thermogate.collector.config import CollectorSettings
from thermogate.core.clock import SystemClock
from thermogate.core.mqtt import MqttSettings

TELEMETRY, EVENT = "thermogate/v1/node/+/telemetry", "thermogate/v1/node/+/event"
SIGNAL = "thermogate/v1/signal/node/+"
FOR_ALL = ("thermogate/v1/node/+/status", "thermogate/v1/gate/+/+", "thermogate/v1/applied/+/+")


def test_members_of_a_group_share_what_comes_at_a_rate_and_all_get_what_no_spool_has() -> None:
    rated = (TELEMETRY, EVENT, SIGNAL)
    assert subscriptions("") == (*rated, *FOR_ALL)
    assert subscriptions("fleet") == (*(f"$share/fleet/{topic}" for topic in rated), *FOR_ALL)


@pytest.mark.parametrize("name", ["a/b", "a+", "#", "a b"])
def test_group_that_is_no_topic_level_is_refused(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="share_group"):
        msgspec.convert({"share_group": name}, CollectorSettings)


def test_two_collectors_on_one_host_do_not_push_each_other_out_of_the_broker(tmp_path: Path) -> None:
    def client_id(settings: CollectorSettings) -> str:
        store = MemoryStore(SystemClock())
        made = Collector(store, settings, MqttSettings(), tmp_path, SystemClock())
        return made._client._link._session.client_id

    one, two = client_id(CollectorSettings()), client_id(CollectorSettings())
    assert one != two
    assert all(name.startswith("thermogate-collector-") and len(name) <= 64 for name in (one, two))
    assert client_id(CollectorSettings(client_id="mine")) == "mine"
