"""docs/signals.md says what the code does: the tables of the study, the bounds that are shipped."""

import re
from pathlib import Path

import pytest

from benchmarks.signals import markdown, study
from thermogate.analytics.config import HealthSettings, SignalSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "signals.md").read_text(encoding="utf-8")
SESSIONS = ROOT / "tests" / "recordings" / "rle_sessions"


@pytest.fixture(scope="module")
def tables():
    return study([SESSIONS])["tables"]


@pytest.mark.parametrize("slow", ["600 s", "120 s"])
def test_the_page_has_the_tables_that_the_study_prints_of_the_recordings_here(tables, slow):
    rows = tables[f"Volatility and overload, slow window {slow}"]
    assert markdown(rows) in PAGE


def test_the_recorded_sessions_have_signals_and_a_healthy_desktop_is_not_held(tables):
    for slow in ("600 s", "120 s"):
        for row in tables[f"Volatility and overload, slow window {slow}"]:
            assert row["volatility median"] > 0
            assert row["alarms/h at 2"] == 0


def test_the_page_names_the_bounds_that_are_shipped():
    bounds = HealthSettings()
    rows = {
        "overload": (
            bounds.overload_bound,
            bounds.overload_for_s,
            bounds.overload_release,
            bounds.overload_release_s,
        ),
        "incoherence": (
            bounds.incoherence_bound,
            bounds.incoherence_for_s,
            bounds.incoherence_release,
            bounds.incoherence_release_s,
        ),
        "repair_severity": (
            bounds.severity_bound,
            bounds.severity_for_s,
            bounds.severity_release,
            bounds.severity_release_s,
        ),
    }
    for rule, numbers in rows.items():
        said = re.search(
            rf"^\| `{rule}` \| above (\S+) for (\d+) s .*\| (\S+) or less for (\d+) s", PAGE, re.MULTILINE
        )
        assert tuple(map(float, said.groups())) == numbers


@pytest.mark.parametrize(
    ("name", "said"), [("fast_s", "30 s"), ("slow_s", "600 s"), ("ambient_c", "25 C"), ("smooth_s", "10 s")]
)
def test_the_page_names_windows_and_floors_as_they_are(name, said):
    number, unit = said.split()
    assert f"{getattr(SignalSettings(), name):g}" == number
    assert re.search(rf"`{name}` \(?{said}", PAGE)
