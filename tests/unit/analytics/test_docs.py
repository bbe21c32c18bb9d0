"""The pages about the gate name every threshold with its default."""

import re
from pathlib import Path

import msgspec
import pytest

from thermogate.analytics.config import (
    ConsistencySettings,
    CoolingSettings,
    GateSettings,
    HardwareSettings,
    ThermalSettings,
)

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "gate.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
POLICIES = dict(_SECTION.findall((DOCS / "policies.md").read_text(encoding="utf-8")))
"""The section of each policy."""
_ROW = re.compile(r"^\| `(\w+)` \| (\S+) \|", re.MULTILINE)


def said(value):
    """A default as the pages write it."""
    return value if isinstance(value, str) else "None" if value is None else f"{value:g}"


def test_the_page_of_the_gate_has_every_setting_with_its_default():
    rows = dict(_ROW.findall(PAGE))
    for name, value in msgspec.structs.asdict(GateSettings()).items():
        assert rows.get(name) == said(value), name


@pytest.mark.parametrize(
    ("policy", "settings"),
    [
        ("thermal", ThermalSettings()),
        ("hardware", HardwareSettings()),
        ("cooling", CoolingSettings()),
        ("consistency", ConsistencySettings()),
    ],
)
def test_the_section_of_a_policy_has_its_settings_and_no_others_with_their_defaults(policy, settings):
    rows = dict(_ROW.findall(POLICIES[policy]))
    assert rows == {name: said(value) for name, value in msgspec.structs.asdict(settings).items()}
