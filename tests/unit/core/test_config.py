from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec
import pytest

from thermogate.core.config import Settings, first_line, load
from thermogate.core.errors import ConfigError


class Inner(Settings, frozen=True):
    moved: ClassVar[Mapping[str, str]] = {"size": "period_s"}
    window: int = 100
    url: str = "mqtt://localhost"
    names: tuple[str, ...] = ()
    form: Literal["short", "long"] = "short"


class Outer(Settings, frozen=True):
    period_s: float = 1.0
    uplink: Inner = msgspec.field(default_factory=Inner)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "thermogate.toml"
        path.write_text(text)
        return path

    return write


def test_environment_goes_over_the_file_and_set_over_both(file):
    path = file("period_s = 2.0\n[uplink]\nwindow = 5\nurl = 'mqtt://file'\n")
    environ = {"THERMOGATE_UPLINK_WINDOW": "6", "THERMOGATE_UPLINK_URL": "mqtt://env", "PATH": "/bin"}
    settings = load(Outer, file=path, environ=environ, sets=["uplink.window=7"])
    assert settings == Outer(period_s=2.0, uplink=Inner(window=7, url="mqtt://env"))


def test_a_list_is_given_as_toml():
    assert load(Outer, sets=['uplink.names=["a", "b"]']).uplink.names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("perod_s = 1", "thermogate.toml: perod_s: no such setting"),
        ("[uplink]\nwidow = 1", "thermogate.toml: uplink.widow: no such setting"),
        ("[uplink]\nwindow = 'x'", "thermogate.toml: uplink.window: expected int, got str"),
        ("period_s = [", "thermogate.toml: not valid TOML"),
        ("[uplink]\nwidow = 1", "is it uplink.window?"),
        ("[uplnk]\nwindow = 1", "thermogate.toml: uplnk: no such setting; is it uplink?"),
        ("[uplink]\nform = 'wide'", "uplink.form: invalid enum value 'wide': expected one of short, long"),
    ],
)
def test_a_mistake_in_the_file_names_file_key_and_what_was_expected(file, text, said):
    with pytest.raises(ConfigError) as caught:
        load(Outer, file=file(text))
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot read"):
        load(Outer, file=tmp_path / "nowhere.toml")


def test_a_wrong_environment_variable_is_named():
    with pytest.raises(ConfigError, match=r"THERMOGATE_UPLINK_WINDOW: uplink\.window: expected int"):
        load(Outer, environ={"THERMOGATE_UPLINK_WINDOW": "many"})
    with pytest.raises(ConfigError, match="THERMOGATE_WINDOW names no setting"):
        load(Outer, environ={"THERMOGATE_WINDOW": "1"})


@pytest.mark.parametrize(
    "given",
    [{"sets": ["uplink.size=1"]}, {"environ": {"THERMOGATE_UPLINK_SIZE": "1"}}],
)
def test_a_setting_of_an_earlier_version_names_the_one_in_its_place(given):
    with pytest.raises(ConfigError, match=r"no (such )?setting; it is period_s now"):
        load(Outer, **given)


@pytest.mark.parametrize("item", ["uplink.window", "uplnk.window=1", "uplink.window.x=1", "nothing=1"])
def test_a_wrong_set_is_named(item):
    with pytest.raises(ConfigError, match="--set"):
        load(Outer, sets=["uplink.window=5", item])


def test_a_secret_without_a_file_is_not_set():
    with pytest.raises(ConfigError, match=r"^mqtt\.password_file is not set"):
        first_line("", "mqtt.password_file")


def test_a_secret_is_the_first_line_of_its_file(file):
    assert first_line(str(file(" hunter2 \nnote\n")), "mqtt.password_file") == "hunter2"


@pytest.mark.parametrize(
    ("name", "said"), [("/dev/null", "is empty"), ("/nowhere", "cannot read a secret: .*No such file")]
)
def test_a_secret_that_is_not_there_is_named_by_setting_and_file(name, said):
    with pytest.raises(ConfigError, match=rf"^mqtt\.password_file {name}: {said}"):
        first_line(name, "mqtt.password_file")
