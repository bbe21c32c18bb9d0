from thermogate.cli import render


def test_columns_line_up_with_numbers_to_the_right():
    text = render.table(("NODE", "W"), [("n1", "9.5"), ("n17", "612.4"), ("n2", "-")])
    assert text.splitlines() == ["NODE      W", "n1      9.5", "n17   612.4", "n2        -"]


def test_an_absent_value_is_a_dash_and_never_zero():
    assert render.number(None, 1) == render.percent(None) == "-"
    assert render.number(0.0, 1) == "0.0"
    assert render.percent(0.0) == "0%"
