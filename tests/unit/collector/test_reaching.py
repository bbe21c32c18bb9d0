import errno
import ssl

import aiohttp
import pytest

from thermogate.collector.config import CollectorSettings
from thermogate.collector.store.reaching import check_url, unreachable
from thermogate.core.config import load
from thermogate.core.errors import ConfigError

KEY = aiohttp.client_reqrep.ConnectionKey("db.example", 8086, False, True, None, None, None)


@pytest.mark.parametrize(
    "url", ["db.example:8086", "ftp://db.example", "http://", "http://db:x", "http://db/?q=1"]
)
def test_what_is_no_address_of_a_server_is_named_with_its_setting(url):
    with pytest.raises(ConfigError, match=r"^collector\.influx\.url .*expected http://HOST:PORT"):
        check_url("collector.influx.url", url)


@pytest.mark.parametrize("url", ["http://db.example:8086", "https://db.example", "http://[::1]:8086/prefix/"])
def test_an_address_of_a_server_is_taken(url):
    check_url("collector.influx.url", url)


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 8086)"), "Connection refused"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version"), "no TLS with it"),
    ],
)
def test_who_does_not_answer_is_told_in_the_systems_words(err, said):
    told = str(unreachable("http://db.example", aiohttp.ClientConnectorError(KEY, err)))
    assert told.startswith(f"http://db.example does not answer: {said}")


@pytest.mark.parametrize("section", ["embedded", "influx"])
def test_a_retention_of_an_earlier_version_is_told_where_it_is_now(section):
    with pytest.raises(ConfigError, match=r"it is collector\.retention\.raw_days now"):
        load(CollectorSettings, sets=[f"{section}.retention_days=7"])
