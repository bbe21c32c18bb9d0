"""The boards as files: what Grafana needs of them, as far as it can be seen without it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

_GRAFANA = Path(__file__).parents[2] / "grafana"
_FILES = sorted((_GRAFANA / "dashboards").glob("*/*.json"))
_UNITS = {"watt", "celsius", "percentunit", "bytes", "hertz", "s", "short", "none"}


def board(file: Path) -> dict:
    return json.loads(file.read_text())


def test_the_boards_are_those_that_are_generated():
    checked = subprocess.run(
        [sys.executable, str(_GRAFANA / "generate.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_there_are_boards_for_both_stores_with_names_of_their_own():
    assert {file.parent.name for file in _FILES} == {"influxdb", "prometheus"}
    boards = [board(file) for file in _FILES]
    assert len({one["uid"] for one in boards}) == len({one["title"] for one in boards}) == len(_FILES)
    assert all(len(one["uid"]) <= 40 for one in boards)  # as many as Grafana takes


@pytest.mark.parametrize("file", _FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
class TestBoard:
    def test_panels_have_ids_of_their_own_and_do_not_overlap(self, file):
        panels = board(file)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        covered: set[tuple[int, int]] = set()
        for panel in panels:
            grid = panel["gridPos"]
            assert grid["x"] + grid["w"] <= 24
            cells = {
                (x, y)
                for x in range(grid["x"], grid["x"] + grid["w"])
                for y in range(grid["y"], grid["y"] + grid["h"])
            }
            assert not cells & covered
            covered |= cells

    def test_every_query_asks_the_data_source_that_is_chosen(self, file):
        made = board(file)
        variables = {one["name"]: one for one in made["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource"
        assert variables["datasource"]["query"] == file.parent.name
        wanted = {"type": file.parent.name, "uid": "${datasource}"}
        asked = [panel["datasource"] for panel in made["panels"]]
        asked += [target["datasource"] for panel in made["panels"] for target in panel["targets"]]
        asked += [one["datasource"] for one in variables.values() if one["type"] == "query"]
        assert all(one == wanted for one in asked)

    def test_every_variable_is_used_and_every_used_one_is_there(self, file):
        made = board(file)
        names = {one["name"] for one in made["templating"]["list"]}
        text = json.dumps(made["panels"]) + json.dumps(made["templating"])
        assert all(f"${name}" in text or f"${{{name}" in text for name in names)
        used = {name for name in ("node", "device", "origin") if f"${name}" in text or f"${{{name}" in text}
        assert used <= names

    def test_panels_have_units_and_queries_with_letters_of_their_own(self, file):
        made = board(file)
        assert made["schemaVersion"] == 38
        for panel in made["panels"]:
            assert panel["fieldConfig"]["defaults"]["unit"] in _UNITS
            letters = [target["refId"] for target in panel["targets"]]
            assert letters
            assert len(set(letters)) == len(letters)

    def test_links_go_to_boards_that_there_are(self, file):
        uids = {board(other)["uid"] for other in _FILES}
        assert {link["url"].removeprefix("/d/") for link in board(file)["links"]} <= uids


def test_provisioning_names_both_data_sources_and_the_boards():
    (sources,) = (_GRAFANA / "provisioning" / "datasources").glob("*.yaml")
    given = yaml.safe_load(sources.read_text())
    assert given["apiVersion"] == 1
    assert {one["type"] for one in given["datasources"]} == {"influxdb", "prometheus"}
    (boards,) = (_GRAFANA / "provisioning" / "dashboards").glob("*.yaml")
    (provider,) = yaml.safe_load(boards.read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].endswith("dashboards")
