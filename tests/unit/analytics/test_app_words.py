"""An operator's word among several gates of a fleet: who decides by it."""

import pytest

from tests.fakes import FakeClock
from tests.unit.analytics.making import NODE, START_NS
from tests.unit.analytics.test_engine_fleet import word
from thermogate.analytics.app import Analytics
from thermogate.analytics.config import AnalyticsSettings
from thermogate.core.key_files import TrustedKey
from thermogate.core.mqtt import Message, MqttSettings
from thermogate.core.signing import SigningKey, TrustedKeys
from thermogate.core.wire import override_topic


class NoAudit:
    def append(self, entries):
        raise AssertionError("nothing is said here")


@pytest.mark.parametrize("kind", ["node", "job"])
def test_of_several_gates_one_decides_by_a_word_about_a_node_or_a_job(kind):
    key = SigningKey.generate()
    trusted = TrustedKeys((TrustedKey("ada", key.public_bytes, purpose="override"),))
    _, payload = key.seal(word("HOLD", kind=kind))
    said = []
    for shard in ("0/2", "1/2"):
        settings, clock = AnalyticsSettings(shard=shard), FakeClock(utc_ns=START_NS)
        gate = Analytics(settings, MqttSettings(), clock, key=key, trusted=trusted, audit=NoAudit())
        gate._take(Message(override_topic(kind, NODE), payload, True, 1, 1, 1), [])
        said += gate._engine.take().decided
    assert [one.decision.target for one in said] == [NODE]


@pytest.mark.parametrize(("ahead_s", "obeyed"), [(20, True), (60, False)])
def test_a_word_of_a_clock_that_is_far_ahead_is_refused_and_told(ahead_s, obeyed, caplog):
    key = SigningKey.generate()
    trusted = TrustedKeys((TrustedKey("ada", key.public_bytes, purpose="override"),))
    _, payload = key.seal(word("HOLD", second=ahead_s))
    clock = FakeClock(utc_ns=START_NS)
    gate = Analytics(AnalyticsSettings(), MqttSettings(), clock, key=key, trusted=trusted, audit=NoAudit())
    gate._take(Message(override_topic("node", NODE), payload, True, 1, 1, 1), [])
    assert bool(gate._engine.take().decided) is obeyed
    assert ("issued 60 s in the future" in caplog.text) is not obeyed
