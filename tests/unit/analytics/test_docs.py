"""docs/gate.md names every threshold with its default."""

import re
from pathlib import Path

import msgspec
import pytest

from thermogate.analytics.config import GateSettings, ThermalSettings

PAGE = (Path(__file__).parents[3] / "docs" / "gate.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("settings", [GateSettings(), ThermalSettings()], ids=lambda s: type(s).__name__)
def test_the_page_has_every_setting_with_its_default(settings):
    for name, value in msgspec.structs.asdict(settings).items():
        said = value if isinstance(value, str) else f"{value:g}"
        assert ROWS.get(name) == said, name
