import pytest

from thermogate.analytics.config import AnalyticsSettings
from thermogate.core.config import load
from thermogate.core.errors import ConfigError


def test_a_gate_is_in_shadow_unless_told_otherwise():
    assert AnalyticsSettings().gate.mode == "shadow"
    assert load(AnalyticsSettings, sets=["gate.mode=enforce"]).gate.mode == "enforce"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("gate.mode=act", "gate.mode"),
        ("gate.ttl_s=0", "gate.ttl_s"),
        ("gate.dwell_s=1000", "dwell_s 1000 is longer than"),
        ("thermal.heat_near_c=-1", "thermal.heat_near_c"),
        ("thermal.collapse_count=0", "thermal.collapse_count"),
        ("thermal.heat_near_f=9", "heat_near_f"),
        ("thermal.heat_time_s=200", "heat_time_s must be less than heat_release_time_s"),
        ("thermal.heat_at_limit_c=8", "heat_at_limit_c must be less than heat_release_c"),
        ("thermal.pace_least_ratio=0.95", "pace_least_ratio must be less than pace_most_ratio"),
    ],
)
def test_a_threshold_that_cannot_be_is_refused_with_its_name(item, said):
    with pytest.raises(ConfigError, match=said):
        load(AnalyticsSettings, sets=[item])
