"""Settings of policies that contradict one another are refused where they are read."""

import pytest

from thermogate.analytics.config import ConsistencySettings, CoolingSettings, ThermalSettings


@pytest.mark.parametrize(
    ("kind", "settings", "names"),
    [
        (ThermalSettings, {"heat_time_s": 200.0}, ("heat_time_s", "heat_release_time_s")),
        (CoolingSettings, {"back_ratio": 0.4}, ("back_ratio", "excess_ratio")),
        (ConsistencySettings, {"temp_most_c": 0.0}, ("temp_least_c", "temp_most_c")),
    ],
)
def test_a_release_that_holds_while_the_rule_fires_is_refused(kind, settings, names):
    with pytest.raises(ValueError, match=f"{names[0]} must be less than {names[1]}"):
        kind(**settings)
