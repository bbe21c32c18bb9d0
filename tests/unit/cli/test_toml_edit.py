"""Settings changed in a file that a person keeps."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.cli.toml_edit import parsed, with_values
from thermogate.core.errors import ConfigError

KEPT = """\
# our broker
log_level = "INFO"

[mqtt]   # the one in rack 3
url = "mqtt://old#1"   # until May
# username = "n17"

# how often
[agent]
period_s = 1.0
"""


def test_a_value_is_changed_in_its_line_and_comments_stay():
    text = with_values(KEPT, {"mqtt.url": "mqtts://new"}, "f")
    assert text == KEPT.replace('"mqtt://old#1"', '"mqtts://new"')


def test_new_settings_go_below_the_last_of_their_section():
    text = with_values(KEPT, {"mqtt.username": "n17", "agent.node": "n17", "data_dir": "/d"}, "f")
    assert 'until May\nusername = "n17"\n# username' in text
    assert text.endswith('period_s = 1.0\nnode = "n17"\n')
    assert 'log_level = "INFO"\ndata_dir = "/d"\n' in text


def test_a_new_section_comes_at_the_end():
    assert with_values("[mqtt]", {"agent.node": "n17"}, "f") == '[mqtt]\n\n[agent]\nnode = "n17"\n'


def test_what_is_so_already_is_not_touched():
    text = '[mqtt]\nurl  =  \'mqtt://b\'\n[agent]\n"node" = "n"\n'
    assert with_values(text, {"mqtt.url": "mqtt://b", "agent.node": "n"}, "f") == text


@pytest.mark.parametrize(
    "text",
    [
        'mqtt = {url = "mqtt://old"}\n',
        'mqtt.url = "mqtt://old"\n',
        '[mqtt]\n"url" = "mqtt://old"\n',
        '[mqtt]\nurl = """\nmqtt://old"""\n',
        'note = """\n[mqtt]\n"""\n[mqtt]\n',
    ],
)
def test_what_cannot_be_changed_by_lines_is_left_to_a_person(text):
    with pytest.raises(ConfigError, match=r'set there: mqtt\.url = "mqtt://new"'):
        with_values(text, {"mqtt.url": "mqtt://new"}, "f")


def test_every_control_character_is_escaped_as_toml_wants_it():
    value = "".join(map(chr, range(128)))
    assert tomllib.loads(with_values("", {"s.a": value}, "f")) == {"s": {"a": value}}


def test_a_file_that_is_not_toml_is_named():
    with pytest.raises(ConfigError, match=r"thermogate\.toml: not valid TOML"):
        with_values("[", {"mqtt.url": "x"}, "thermogate.toml")


@given(
    st.dictionaries(
        st.sampled_from(["a", "s.a", "s.b", "s.t.c", "u.d"]),
        st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.booleans(), st.integers(-9, 9)),
    )
)
def test_what_was_asked_for_is_what_is_read_back(values):
    try:
        tree = tomllib.loads(with_values('[s]\na = "x" # y\n\n[s.t]\n', values, "f"))
    except ConfigError:  # refused rather than wrong
        return
    for key, value in values.items():
        node = tree
        for name in key.split("."):
            node = node[name]
        assert node == value


def test_a_value_of_the_command_line_is_toml_or_text():
    assert [parsed(text) for text in ("2", "true", "mqtt://b", '"3"')] == [2, True, "mqtt://b", "3"]
    with pytest.raises(ConfigError):
        parsed("[1, 2]")
