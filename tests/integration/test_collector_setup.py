"""`thermogate collector setup` as people run it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from thermogate.cli.main import main

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.influxdb(tmp_path_factory.mktemp("influx")) as running:
        yield running


def set_up(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["collector", "setup", *arguments]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_influx_is_set_up_once_and_dry_run_only_says_so(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "thermogate.toml"
    config.write_text(f'[collector]\nstore = "influx"\n[collector.influx]\nurl = "{url}"\ndatabase = "tel"\n')
    given = ["--config", str(config)]
    who, *lines = set_up(capsys, *given, "--dry-run")
    assert who.startswith("there InfluxDB 1.")
    assert lines == [
        "would be made database tel, samples kept 30 days",
        "would be made retention policy 1m, kept 180 days",
        "would be made retention policy 1h, kept 1825 days",
    ]
    assert set_up(capsys, *given)[1:] == [line.removeprefix("would be ") for line in lines]
    again = set_up(capsys, *given)
    assert [line.split()[0] for line in again] == ["there"] * 5
    left = set_up(capsys, "--influx", url, *given, "--set", "collector.retention.raw_days=2")
    assert left[2] == (
        "left retention policy autogen, kept 30 days and not 2 days:"
        " that would delete what is older (--shrink does it)"
    )


def test_embedded_store_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = set_up(capsys)
    assert line.startswith("there embedded store: ")


def test_server_that_does_not_answer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collector", "setup", "--influx", f"http://127.0.0.1:{servers.free_port()}"]) == 1
    assert "does not answer" in capsys.readouterr().err
