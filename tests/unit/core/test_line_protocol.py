"""What agents publish is line protocol to a reader that is not ours, as Telegraf or a database is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from tests.recorded_fleet import RecordedFleet
from thermogate.core import wire
from thermogate.core.schema import INTEGER_FIELDS, MEASUREMENTS
from thermogate.core.wire import Point, parse_points

NOW_NS = 1_763_712_000_123_456_789
FIELDS = {field.name for measurement in MEASUREMENTS.values() for field in measurement.fields}
_NUMBERS = st.floats(-1e300, 1e300, allow_subnormal=False)  # which that reader cannot, and nobody measures


def read(payload: bytes) -> list[Point]:
    """As a reader does that skips lines which begin with #."""
    points = []
    for line in payload.decode().splitlines():
        if line.startswith("#"):
            continue
        one = parse_line(line)
        tag = one["tags"]
        points.append(
            Point(
                one["measurement"],
                tag["node"],
                tag.get("device", ""),
                tag.get("model", ""),
                tag.get("origin", ""),
                one["fields"],
                one["time"],
            )
        )
    return points


@pytest.mark.parametrize("second", range(5))
def test_a_recorded_node_is_read_as_we_read_it(second):
    fleet = RecordedFleet(["n1", "sim-1"], gpus=8, replayed=["sim-1"])
    for payload in fleet.telemetry(NOW_NS + second * 10**9):
        points = read(payload)
        assert len(points) == 11
        assert points == parse_points(payload)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), _NUMBERS, min_size=1))
def test_every_number_is_read_as_it_was_measured(fields):
    values = {k: int(v) % 10**18 if k in INTEGER_FIELDS else v for k, v in fields.items()}
    line = wire.format_line("gpu", "n1", "0", "H100", "simulated", values, NOW_NS)
    (point,) = read(wire.format_header("n1", "0a", 1) + line.encode())
    assert point.fields == values
    assert (point.origin, point.time_ns) == ("simulated", NOW_NS)
