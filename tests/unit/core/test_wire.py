import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermogate.core import wire
from thermogate.core.errors import WireError
from thermogate.core.model import Ack

NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True).filter(lambda name: name not in (".", ".."))
RESERVED = {"node", "device", "model", "origin", "time", "time_ns"}
FIELD_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,63}", fullmatch=True).filter(lambda name: name not in RESERVED)
NUMBERS = st.floats(-1e308, 1e308, exclude_min=True, exclude_max=True)


def payload(
    node="n17", lines="gpu,node=n17,device=0,model=H100 power_w=612.4,collapse=0i 1763712000000000000\n"
):
    return wire.format_header(node, "3f2a", 1234) + lines.encode()


@given(
    node=NAMES,
    device=NAMES,
    model=NAMES,
    origin=st.sampled_from([None, "replay", "simulated"]),
    fields=st.dictionaries(FIELD_NAMES, NUMBERS, min_size=1, max_size=20),
    time_ns=st.integers(0, 9 * 10**18 - 1),  # until the year 2255
)
def test_what_is_formatted_passes_the_check_and_parses_to_the_same(
    node, device, model, origin, fields, time_ns
):
    fields.pop("collapse", None)
    line = wire.format_line("gpu", node, device, model, origin, fields, time_ns)
    body = line or "agent,node=" + node + " ticks_count=1i 1\n"
    message = wire.format_header(node, "ab", 7, ack=True) + body.encode()
    assert wire.check_telemetry(node, message) == wire.Header(node, "ab", 7, ack=True)
    if line:
        (point,) = wire.parse_points(message)
        integers = {name for name in fields if name in wire.INTEGER_FIELDS}
        assert point == wire.Point(
            "gpu",
            node,
            device,
            model,
            origin or "",
            {name: float(int(v)) if name in integers else v for name, v in fields.items()},
            time_ns,
        )


def test_absent_fields_are_not_in_the_line():
    line = wire.format_line("gpu", "n", "0", "", None, {"power_w": None, "temp_c": 40}, 1)
    assert line == "gpu,node=n,device=0 temp_c=40.0 1\n"


def test_a_device_that_measured_nothing_has_no_line():
    assert wire.format_line("gpu", "n", "0", "m", None, {"power_w": None}, 1) == ""


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e308])
def test_a_number_that_is_not_finite_is_refused_at_the_source(value):
    with pytest.raises(ValueError, match="power_w"):
        wire.format_line("gpu", "n", "0", "", None, {"power_w": value}, 1)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "first line"),
        (b"# thermogate/2 node=n17 spool=3f2a seq=1\n", "first line"),
        (payload(node="n18"), "names node n18 on the topic of node n17"),
        (payload(lines=""), "no line"),
        (payload(lines="gpu,node=n18,device=0 power_w=1.0 1\n"), "line 2 is not telemetry of node n17"),
        (payload(lines="disk,node=n17 power_w=1.0 1\n"), "line 2"),
        (payload(lines="gpu,node=n17,device=0 power_w=NaN 1\n"), "line 2"),
        (payload(lines="gpu,node=n17,device=0 power_w=1.0 1"), "line 2"),
        (payload(lines="gpu,node=n17,device=0 power_w=1e999 1\n"), "line 2"),
        (payload(lines="gpu,node=n17,device=0 power_w=1.0 9999999999999999999\n"), "line 2"),
        (payload(lines="gpu,node=n17,device=0 time_ns=1.0 1\n"), "line 2"),
        (payload(lines="gpu,node=n17,device=0 power_w=1.0 1\ngpu,node=n17 x\n"), "line 3"),
        (payload(lines='gpu,node=n17,device=0 power_w="a" 1\n'), "line 2"),
        (payload() + b"# comment\n", "line 3"),
        (payload() * 1000, "over 65536"),
    ],
)
def test_a_malformed_payload_is_refused_with_its_reason(message, reason):
    with pytest.raises(WireError, match=reason):
        wire.check_telemetry("n17", message)


@given(st.binary(max_size=300))
def test_any_bytes_are_either_sound_or_a_wire_error(message):
    for candidate in (message, payload() + message, payload()[: len(message)] + message):
        try:
            wire.check_telemetry("n17", candidate)
        except WireError:
            continue
        assert all(point.node == "n17" for point in wire.parse_points(candidate))


def test_one_nodes_check_does_not_pass_anothers_lines():
    wire.check_telemetry("n17", payload())
    with pytest.raises(WireError):
        wire.check_telemetry("n1", payload(node="n1"))


@pytest.mark.parametrize(
    "topic", ["thermogate/v1/node/a b/telemetry", "other/v1/node/a/status", "thermogate/v1/x", ""]
)
def test_a_foreign_topic_is_a_wire_error(topic):
    with pytest.raises(WireError):
        wire.split_topic(topic)


def test_topics_split_into_family_name_and_leaf():
    assert wire.split_topic(wire.node_topic("n17", "ack")) == ("node", "n17", "ack")
    assert wire.split_topic(wire.gate_topic("job", "42")) == ("gate", "job", "42")


@given(st.text(max_size=200))
def test_any_text_becomes_a_name(text):
    assert wire.is_name(wire.to_name(text))


@pytest.mark.parametrize("text", [".", ".."])
def test_what_a_folder_cannot_be_called_is_no_name(text):
    assert not wire.is_name(text)
    assert wire.to_name(text) == "unknown"
    with pytest.raises(WireError):
        wire.split_topic(f"thermogate/v1/node/{text}/telemetry")
    line = wire.format_header(text, "ab", 1) + f"gpu,node={text},device=0 temp_c=60.0 1\n".encode()
    with pytest.raises(WireError):
        wire.check_telemetry(text, line)
    assert wire.is_name("...")
    assert wire.is_name("..x")


def test_a_json_message_that_is_not_its_type_is_a_wire_error_that_names_the_field():
    with pytest.raises(WireError, match=r"Ack.*stored"):
        wire.decode(b'{"spool": "ab", "stored": [[1, "x"]]}', Ack)


def test_json_nested_without_end_is_a_wire_error():
    with pytest.raises(WireError, match="nested too deep"):
        wire.decode(b'{"spool": "ab", "stored": [], "more": ' + b"[" * 60_000, Ack)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_ack_or_a_wire_error(body):
    try:
        assert isinstance(wire.decode(body, Ack), Ack)
    except WireError:
        pass


def test_an_integer_that_is_all_ones_is_left_out_instead_of_refusing_the_message():
    fields = {"temp_c": 60.0, "mem_used_bytes": 2**64 - 1}
    line = wire.format_line("gpu", "n17", "0", "", None, fields, 1)
    assert line == "gpu,node=n17,device=0 temp_c=60.0 1\n"


@pytest.mark.parametrize("count", [0, 1, 80, 400])
def test_lines_are_split_where_a_payload_ends_and_none_is_lost(count):
    line = wire.format_line("gpu", "n17", "0", "", None, {f"f{n}": 1.5 for n in range(90)}, 1)
    parts = wire.split_lines(line * count)
    assert b"".join(parts) == (line * count).encode()
    for part in parts:
        wire.check_telemetry("n17", wire.format_header("n17", "f" * 32, 10**17, ack=True) + part)
