import asyncio
import socket

import aiohttp
import pytest

from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import QUICK
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.settings import DashboardSettings, split_listen


def dashboard(settings):
    return Dashboard(Answers(FakeQuery(), FakeClock(), settings), settings)


async def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            UnavailableError, match=f"^{where} is in use by another program: .*--listen HOST:PORT$"
        ):
            await dashboard(DashboardSettings(listen=where)).__aenter__()


async def test_an_address_that_is_not_ours_is_one_sentence():
    elsewhere = DashboardSettings(listen="192.0.2.1:8420", allow_anonymous=True, allow_plain_http=True)
    with pytest.raises(UnavailableError, match=r"^cannot listen on 192\.0\.2\.1:8420: "):
        await dashboard(elsewhere).__aenter__()


async def test_it_listens_on_loopback_unless_told_otherwise():
    assert DashboardSettings().listen == "127.0.0.1:8420"


async def test_it_closes_at_once_though_pages_are_open():
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as client:
        async with dashboard(QUICK) as opened:
            streams = [await client.get(f"{opened.url}api/v1/stream") for _ in range(3)]
            began = loop.time()
        assert loop.time() - began < 1.5
        for stream in streams:
            assert (await stream.read()).startswith(b"event: hello")


async def test_the_port_is_free_again_after_closing():
    async with dashboard(QUICK) as first:
        where = first.url.removeprefix("http://").rstrip("/")
    async with dashboard(DashboardSettings(listen=where)) as second:
        assert second.url == first.url


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:8420", ("127.0.0.1", 8420)), ("localhost:0", ("localhost", 0)), ("[::1]:80", ("::1", 80))],
)
def test_an_address_is_a_host_and_a_port(text, expected):
    assert split_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", "8420", ":8420", "localhost", "localhost:", "localhost:http", "::1:80", "h:99999"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError, match="is not HOST:PORT, such as"):
        split_listen(text)
