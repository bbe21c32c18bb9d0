"""Secrets from systemd become settings."""

import argparse

import pytest

from thermogate.cli import credentials, settings
from thermogate.core.errors import ConfigError


def load(config=None, sets=()):
    return settings.load(argparse.Namespace(config=config, sets=list(sets), data_dir=None))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return folder


def test_a_credential_is_the_setting_whose_name_it_has(folder, tmp_path):
    (folder / "mqtt.password_file").write_text("secret")
    (folder / "collector.influx.token_file").write_text("token")
    config = tmp_path / "thermogate.toml"
    config.write_text('[mqtt]\npassword_file = "/only/the/owner/reads/this"\n')
    loaded = load(config)
    assert loaded.mqtt.password_file == str(folder / "mqtt.password_file")
    assert loaded.collector.influx.token_file == str(folder / "collector.influx.token_file")


def test_the_command_line_is_above_credentials(folder):
    (folder / "mqtt.password_file").write_text("secret")
    assert load(sets=["mqtt.password_file=/mine"]).mqtt.password_file == "/mine"


@pytest.mark.parametrize("name", ["mqtt.pasword_file", "password"])
def test_a_credential_that_is_no_setting_is_refused_by_its_name(folder, name):
    (folder / name).write_text("secret")
    with pytest.raises(ConfigError, match=name):
        load()


def test_without_systemd_there_are_none():
    assert credentials.as_sets({}) == []
