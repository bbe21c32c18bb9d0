import msgspec
import pytest

from thermogate.analytics.config import AnalyticsSettings
from thermogate.analytics.policies.registry import GROUP_POLICIES, JOB_POLICIES, NODE_POLICIES
from thermogate.core.config import load
from thermogate.core.errors import ConfigError


def test_no_policy_is_enforced_unless_told_so_and_every_policy_has_a_mode_and_settings():
    settings = AnalyticsSettings()
    names = {policy.NAME for policy in (*NODE_POLICIES, *JOB_POLICIES, *GROUP_POLICIES)}
    assert names == set(settings.modes.__struct_fields__)
    assert "enforce" not in msgspec.structs.astuple(settings.modes)
    assert all(hasattr(settings, name) for name in names)
    assert load(AnalyticsSettings, sets=["modes.thermal=enforce"]).modes.thermal == "enforce"


def test_groups_are_read_from_a_file_and_two_of_one_name_or_a_cap_over_shards_are_refused(tmp_path):
    file = tmp_path / "gate.toml"
    file.write_text('[[groups]]\nname = "rack1"\nnodes = ["n1*"]\npower_cap_w = 40000\n')
    (group,) = load(AnalyticsSettings, file=file).groups
    assert (group.name, group.nodes, group.power_cap_w) == ("rack1", ("n1*",), 40_000)
    with pytest.raises(ConfigError, match="power cap"):
        load(AnalyticsSettings, file=file, sets=['shard="0/2"'])
    file.write_text('[[groups]]\nname = "a"\nnodes = []\n[[groups]]\nname = "a"\nnodes = []\n')
    with pytest.raises(ConfigError, match="two groups are called a"):
        load(AnalyticsSettings, file=file)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("modes.thermal=act", "modes.thermal"),
        ("gate.mode=enforce", "it is analytics.modes.thermal"),
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
