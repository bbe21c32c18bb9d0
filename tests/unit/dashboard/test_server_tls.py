"""HTTPS of the dashboard, with certificates made by openssl."""

import asyncio
import shutil
import ssl

import aiohttp
import msgspec
import pytest

from tests.certificates import Authority
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import QUICK
from tests.unit.dashboard.test_access import Site
from thermogate.cli.remote import Remote
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def over_tls(pair, **changes):
    settings = msgspec.structs.replace(
        QUICK, listen="localhost:0", cert_file=str(pair.cert), key_file=str(pair.key), **changes
    )
    return Dashboard(Answers(FakeQuery(), FakeClock(), settings), settings)


async def shown(url, authority):
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=authority.certificate)
    port = int(url.rstrip("/").rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    serial = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return serial


async def test_a_renewed_certificate_is_shown_to_the_next_connection(authority, tmp_path, caplog):
    old, new = authority.pair("old"), authority.pair("new")
    cert = shutil.copy(old.cert, tmp_path / "cert.pem")
    key = shutil.copy(old.key, tmp_path / "key.pem")
    async with over_tls(type(old)(cert, key)) as dashboard:
        assert dashboard.url.startswith("https://localhost:")
        first = await shown(dashboard.url, authority)
        shutil.copy(new.cert, cert)
        assert await shown(dashboard.url, authority) == first
        assert "is not the key of dashboard.cert_file" in caplog.text
        shutil.copy(new.key, key)
        assert await shown(dashboard.url, authority) != first


async def test_an_expired_certificate_is_told_and_never_taken_for_a_good_one(authority, tmp_path, caplog):
    good, expired = authority.pair("good"), authority.pair("expired", days=-1)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(good.cert, cert)
    shutil.copy(good.key, key)
    async with over_tls(type(good)(cert, key)) as dashboard:
        first = await shown(dashboard.url, authority)
        shutil.copy(expired.cert, cert)
        shutil.copy(expired.key, key)
        assert await shown(dashboard.url, authority) == first
    assert "and not now by the clock of this machine" in caplog.text


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("missing.pem", "", "dashboard.cert_file .*missing.pem: cannot be read: No such file"),
        ("empty", "", "dashboard.cert_file .*: holds no CERTIFICATE in PEM"),
        ("a.pem", "b.key", "dashboard.key_file .*: is not the key of dashboard.cert_file"),
        ("a.pem", "", "dashboard.key_file .*: holds no PRIVATE KEY in PEM"),
    ],
)
async def test_files_that_will_not_do_are_named_with_what_is_wrong(authority, tmp_path, cert, key, said):
    a, b = authority.pair("a"), authority.pair("b")
    for file in (*a, *b):
        shutil.copy(file, tmp_path)
    (tmp_path / "empty").touch()
    settings = msgspec.structs.replace(
        QUICK, cert_file=str(tmp_path / cert), key_file=str(tmp_path / key) if key else ""
    )
    with pytest.raises(ConfigError, match=said):
        await Dashboard(Answers(FakeQuery(), FakeClock(), settings), settings).__aenter__()


async def test_the_command_line_asks_over_https_with_a_token(authority, tmp_path):
    site = Site(tmp_path)
    async with over_tls(authority.pair("server"), tokens_file=str(site.file)) as dashboard:
        url, trusted = dashboard.url, str(authority.certificate)
        assert (await Remote(url, site.text["admin"], trusted).info()).broker_url == ""
        with pytest.raises(UnavailableError, match=r"a token is needed.*--token-file FILE"):
            await Remote(url, None, trusted).info()
        with pytest.raises(UnavailableError, match=r"its certificate is not trusted: .*--ca-file"):
            await Remote(url, site.text["admin"]).info()
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1.*its certificate is not trusted"):
            await Remote(url.replace("localhost", "127.0.0.1"), None, trusted).info()
        with pytest.raises(UnavailableError, match="http where it should be https"):
            await Remote(url.replace("https", "http")).info()


async def test_the_cookie_of_https_is_for_this_host_and_https_only(authority, tmp_path):
    site = Site(tmp_path)
    context = ssl.create_default_context(cafile=authority.certificate)
    async with over_tls(authority.pair("server"), tokens_file=str(site.file)) as dashboard:
        async with aiohttp.TCPConnector(ssl=context) as connector:
            async with aiohttp.ClientSession(dashboard.url, connector=connector) as client:
                async with client.post("/login", data={"token": site.text["read"]}) as response:
                    cookie = response.cookies["__Host-thermogate"]
                    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
                async with client.get("/api/v1/nodes") as response:
                    assert response.status == 200
