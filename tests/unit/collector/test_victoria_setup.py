"""What `thermogate collector setup` says of a VictoriaMetrics."""

import pytest

from thermogate.collector.config import RetentionSettings, VictoriaSettings
from thermogate.collector.store import victoria_server
from thermogate.collector.store.victoria_setup import lacking
from thermogate.core.errors import StoreError

GOOD = {
    "dedup.minScrapeInterval": "1ms",
    "retentionPeriod": "30d",
    "httpListenAddr": "127.0.0.1:8428",
    "influxMeasurementFieldSeparator": "_",
    "influxDBLabel": "db",
    "maxLabelValueLen": "16384",
    "maxLabelsPerTimeseries": "30",
    "search.maxSeries": "1000000",
}


def said(**flags):
    given = GOOD | {name.replace("__", "."): value for name, value in flags.items()}
    return list(lacking(given, VictoriaSettings(), RetentionSettings()))


def test_a_server_started_as_shipped_lacks_nothing():
    assert said() == []
    assert said(retentionPeriod="1y", influxTrimTimestamp="1ms") == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"dedup__minScrapeInterval": "0s"}, "minScrapeInterval is 0s"),
        ({"dedup__minScrapeInterval": "1s"}, "minScrapeInterval is 1s"),
        ({"retentionPeriod": "7d"}, "retentionPeriod is 7 d, collector.retention.raw_days 30"),
        ({"retentionPeriod": "2w"}, "is 14 d"),
        ({"influxSkipSingleField": "true"}, "-influxSkipSingleField is true"),
        ({"influxTrimTimestamp": "1s"}, "-influxTrimTimestamp is 1s"),
        ({"maxLabelValueLen": "1024"}, "events need 4000"),
        ({"maxLabelsPerTimeseries": "10"}, "-maxLabelsPerTimeseries 10"),
        ({"inmemoryDataFlushInterval": "1m0s"}, "after up to 121 s"),
        ({"search__maxSeries": "30000"}, "enough for 3750 nodes"),
        ({"httpListenAddr": ":8428"}, "whoever can connect may delete"),
    ],
)
def test_what_differs_is_said_in_a_sentence(flags, expected):
    [sentence] = said(**flags)
    assert expected in sentence


def test_a_user_makes_an_address_beyond_loopback_fit():
    assert said(httpListenAddr=":8428", httpAuth__username="thermogate") == []


def test_flags_are_read_as_the_server_shows_them():
    text = 'flag{name="httpListenAddr", value=":8428", is_set="false"} 1\n'
    text += 'flag{name="x", value="a\\"b", is_set="true"} 1\n'
    assert victoria_server.flags(text) == {"httpListenAddr": ":8428", "x": 'a\\"b'}


@pytest.mark.parametrize(
    ("given", "seconds"), [("30d", 2592000), ("1", 2678400), ("12h", 43200), ("1y", 31536000)]
)
def test_retention_is_read_with_and_without_a_unit(given, seconds):
    assert victoria_server.retention_s({"retentionPeriod": given}) == seconds


def test_text_of_another_server_is_no_reading():
    with pytest.raises(StoreError, match="not that of a single-node VictoriaMetrics"):
        victoria_server.reading("process_start_time_seconds 1\nvm_app_start_timestamp 1\n")
