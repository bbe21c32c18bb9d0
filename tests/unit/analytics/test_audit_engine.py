"""What the engine decides goes into the log, and comes out of it the same."""

from tests.fakes import FakeClock
from tests.signed import KEY, TRUSTED
from tests.unit.analytics.enginery import Fleet
from tests.unit.analytics.making import heating, trace
from thermogate.analytics.audit import AuditLog, Reader
from thermogate.analytics.audit.replay import replay
from thermogate.analytics.config import AnalyticsSettings, AuditSettings, ModeSettings, ThermalSettings
from thermogate.analytics.inputs import recompute
from thermogate.core.decision import State

HOT_AND_COOL = [*heating(to_c=86.0), *[70.0] * 100]


def test_an_overheated_node_replays_from_the_log_to_the_same_decisions(tmp_path):
    fleet = Fleet().hear(*trace(HOT_AND_COOL))
    assert fleet.states() == ["HOLD", "HOLD", "RUN"]
    with AuditLog(tmp_path, KEY, AuditSettings(), trusted=TRUSTED, clock=FakeClock()) as log:
        sealed = [KEY.seal(decision)[1] for decision in fleet.said]
        log.append(list(zip(sealed, fleet.inputs, strict=True)))
    reader = Reader(tmp_path, TRUSTED)
    decided = [record for record in reader.records() if record.decision]
    assert reader.findings == []
    again = [replay(record, recompute) for record in decided]
    assert [(one.differences, one.problem) for one in again] == [((), "")] * 3
    assert [one.again for one in again] == fleet.said

    modes = ModeSettings(thermal="enforce")
    switched = [replay(record, recompute, AnalyticsSettings(modes=modes)) for record in decided]
    assert {one.differences[0].field for one in switched[:2]} == {"mode"}
    patient = AnalyticsSettings(thermal=ThermalSettings(heat_near_c=3.0))
    first = replay(decided[0], recompute, patient)
    assert ("state", State.HOLD, State.RUN) in [tuple(one) for one in first.differences]
