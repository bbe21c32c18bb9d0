import json

import pytest

from thermogate.cli import render


def test_columns_line_up_with_numbers_to_the_right():
    text = render.table(("NODE", "W"), [("n1", "9.5"), ("n17", "612.4"), ("n2", "-")])
    assert text.splitlines() == ["NODE      W", "n1      9.5", "n17   612.4", "n2        -"]


def test_an_absent_value_is_a_dash_and_never_zero():
    assert render.number(None, 1) == render.percent(None) == "-"
    assert render.number(0.0, 1) == "0.0"
    assert render.percent(0.0) == "0%"


HOSTILE = "a\x1b[31mb\nc\td\x9bd\x7f\u202ee\r"


def test_cell_stays_one_line_and_steers_no_terminal():
    text = render.table(("NODE", "WHAT"), [("n1", HOSTILE), ("n2", "Gerät 零 😀")])
    assert text.splitlines() == ["NODE  WHAT", "n1    a?[31mb?c?d?d??e?", "n2    Gerät 零 😀"]


@pytest.mark.parametrize("put", [render.show, render.repaint])
def test_what_is_shown_keeps_its_lines_and_nothing_else_that_steers(capsys, put):
    put(HOSTILE)
    assert capsys.readouterr().out == "a?[31mb\nc?d?d??e?\n"


def test_json_is_the_same_value_with_what_steers_a_terminal_escaped():
    text = render.json_text({"text": HOSTILE + "\U000e0041"})
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == {"text": HOSTILE + "\U000e0041"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(42, "42 s"), (180, "3 min"), (7500, "2 h 5 min"), (86_400, "24 h"), (3e5, "3 days")],
)
def test_spans_are_told_in_one_or_two_units(seconds, text):
    assert render.span(seconds) == text


def test_a_sparkline_has_a_gap_where_there_is_no_value_and_keeps_within_its_bounds():
    assert render.sparkline([0.0, None, 5.0, 10.0, 99.0, -1.0], 0.0, 10.0) == "▁ ▅██▁"
    assert render.sparkline([3.0, 3.0], 3.0, 3.0) == "▁▁"
    assert render.sparkline([], 0.0, 1.0) == ""
