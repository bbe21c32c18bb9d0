"""What strangers send, what many clients take at once, and what nodes tell, against the web server itself."""

import asyncio
import logging
import ssl

import aiohttp
import msgspec
import pytest

from tests.certificates import Authority
from tests.fake_fleet import FakeFleet
from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import QUICK, Listener, serving
from tests.unit.dashboard.test_access import Site
from tests.unit.dashboard.test_api import NOW, SESSION
from tests.unit.dashboard.test_prometheus import INFO
from thermogate.core.clock import NS, SystemClock
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.core.model import Event, Status
from thermogate.core.wire import Point
from thermogate.dashboard import fleet, paging
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.bounds import Turns
from thermogate.dashboard.changes import Told
from thermogate.dashboard.present import present
from thermogate.dashboard.prometheus_families import families
from thermogate.dashboard.prometheus_text import text
from thermogate.dashboard.settings import DashboardSettings
from thermogate.dashboard.times import MOST_NS, parse_time

_FORM = b"Content-Type: application/x-www-form-urlencoded"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def sent(client, data):
    """All that comes back for bytes that no client would send, until the server closes."""
    reader, writer = await asyncio.open_connection(client._base_url.host, client._base_url.port)
    writer.write(data)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


def request(line, *headers, body=b""):
    end = b"Content-Length: %d" % len(body)
    return b"\r\n".join(
        (line + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers, end, b"", body)
    )


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(b"GET /api/v1/info", b"Cookie: thermogate=\xff\xfe"), 401),
        (request(b"GET /api/v1/info", b"Authorization: Bearer \xff\xfe"), 401),
        (request(b"GET /static/" + b"a" * 5000), 404),
        (request(b"GET /static/" + b"a/" * 2500), 404),
        (request(b"POST /login", _FORM, body=b"token=\xff"), 401),
        (request(b"POST /login", _FORM + b"; charset=zlib", body=b"token=a"), 401),
        (request(b"POST /login", b"Content-Type: multipart/form-data", body=b"token=a"), 415),
        (request(b"POST /login", _FORM, b"Content-Encoding: gzip", body=b"token=a"), 415),
        (request(b"GET /api/v1/info", b"Content-Encoding: gzip", body=b"no gzip"), 401),
        (request(b"GET /api/v1/\xff"), 400),
        (b"\x16\x03\x01\x02\x00\x01 a handshake of TLS\r\n\r\n", 400),
    ],
)
async def test_a_stranger_s_bytes_are_refused_and_leave_no_trace_in_the_log(site, caplog, data, status):
    async with site.serving() as client:
        answer = await sent(client, data)
    assert int(answer.split()[1]) == status
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_login_whose_body_does_not_come_is_given_up(site):
    site.settings = msgspec.structs.replace(site.settings, silent_s=0.2)
    async with site.serving() as client:
        half = request(b"POST /login", _FORM, body=b"token=" + b"a" * 100)[:-50]
        assert b" 408 " in (await sent(client, half)).partition(b"\r\n")[0]


async def test_a_connection_that_sends_no_whole_request_is_closed():
    settings = msgspec.structs.replace(QUICK, silent_s=0.1)
    async with serving(FakeQuery(), FakeClock(NOW), settings) as client:
        assert await sent(client, b"") == b""
        assert await sent(client, b"GET /api/v1/info HTTP/1.1\r\nHost: loc") == b""


async def test_a_connection_more_than_there_may_be_is_closed_and_one_that_ends_makes_room():
    settings = msgspec.structs.replace(QUICK, connections=2)
    async with serving(FakeQuery(), FakeClock(NOW), settings) as client:
        where = client._base_url.host, client._base_url.port
        held = [await asyncio.open_connection(*where) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert not await _answers(client)
        held[0][1].close()
        await held[0][1].wait_closed()
        async with asyncio.timeout(10):
            while not await _answers(client):
                await asyncio.sleep(0.02)
        held[1][1].close()


async def _answers(client, path="/api/v1/info"):
    try:
        async with client.get(path) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/export", "/api/v1/stream"])
async def test_the_head_of_a_long_answer_has_no_body(path):
    query = FakeFleet([SESSION], nodes=1, gpus=1, now_ns=NOW).query
    async with serving(query, FakeClock(NOW)) as client:
        answer = await sent(client, request(b"HEAD " + path.encode()))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"200", b"")


async def test_more_open_pages_than_there_may_be_are_told_to_come_later():
    settings = msgspec.structs.replace(QUICK, streams=1)
    async with serving(FakeQuery(), SystemClock(), settings) as client:
        async with client.get("/api/v1/stream") as first:
            await Listener(first).until("hello")
            async with client.get("/api/v1/stream") as second:
                assert (second.status, second.headers["Retry-After"]) == (503, "5")
                assert "dashboard.streams" in (await second.json())["error"]
        async with asyncio.timeout(10):
            while not await _answers(client, "/api/v1/stream"):
                await asyncio.sleep(0.02)


class Endless(FakeQuery):
    """An export and a scrape of it never end."""

    async def latest(self):
        return [Point("gpu", f"n{n}", "0", "", "", {"rle": 1.0, "power_w": 1.0}, NOW) for n in range(5_000)]

    async def samples(self, **_asked):
        while True:
            yield await self.latest()


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/export"])
async def test_more_exports_or_scrapes_than_there_may_be_are_told_to_come_later(path):
    settings = msgspec.structs.replace(QUICK, long_answers=1, store_timeout_s=30.0)
    async with serving(Endless(), FakeClock(NOW), settings) as client:
        async with client.get(path) as first:
            assert first.status == 200
            async with client.get(path) as second:
                assert (second.status, "dashboard.long_answers" in await second.text()) == (503, True)


async def test_a_client_that_leaves_in_the_middle_leaves_no_trace_in_the_log(caplog):
    settings = msgspec.structs.replace(QUICK, long_answers=1)
    async with serving(Endless(), FakeClock(NOW), settings) as client:
        for _ in range(3):
            async with asyncio.timeout(10):
                while not await _answers(client, "/api/v1/export"):
                    await asyncio.sleep(0.02)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_turn_that_ends_badly_is_given_back():
    turns = Turns(1, "questions", "questions")
    with pytest.raises(ZeroDivisionError), turns.one():
        raise ZeroDivisionError
    with turns.one(), pytest.raises(UnavailableError, match="1 questions at once"), turns.one():
        pass


async def test_an_export_that_nobody_takes_is_cut_short(caplog):
    settings = msgspec.structs.replace(QUICK, stalled_s=0.1)
    async with serving(Endless(), FakeClock(NOW), settings) as client:
        reader, writer = await asyncio.open_connection(client._base_url.host, client._base_url.port, limit=1)
        writer.write(request(b"GET /api/v1/export"))
        async with asyncio.timeout(20):
            while "took nothing for 0.1 s" not in caplog.text:
                await asyncio.sleep(0.02)
        writer.close()
        del reader


async def test_behind_a_proxy_that_ends_tls_the_cookie_is_for_tls_and_this_host_alone(site):
    proxied = {"Origin": "https://gpu.example", "Sec-Fetch-Site": "same-origin"}
    async with site.serving() as client:
        async with client.post("/login", data={"token": site.text["read"]}, headers=proxied) as response:
            cookie = response.cookies["__Host-thermogate"]
            assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")
        kept = {"Cookie": f"__Host-thermogate={cookie.value}"}
        async with client.get("/api/v1/info", headers=kept) as response:
            assert response.status == 200
        async with client.post("/logout", headers=kept | proxied) as response:
            assert response.cookies["__Host-thermogate"]["secure"] is True
        async with client.get("/api/v1/info", headers=kept) as response:
            assert response.status == 401


async def test_over_our_own_tls_a_cookie_that_a_neighbour_could_set_is_none(site, tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("authority"))
    pair = authority.pair("page")
    site.settings = msgspec.structs.replace(
        site.settings, listen="localhost:0", cert_file=str(pair.cert), key_file=str(pair.key)
    )
    context = ssl.create_default_context(cafile=authority.certificate)
    async with site.serving(connector=aiohttp.TCPConnector(ssl=context)) as client:
        async with client.post("/login", data={"token": site.text["read"]}) as response:
            value = response.cookies["__Host-thermogate"].value
        client.cookie_jar.clear()
        for name, status in (("thermogate", 401), ("__Host-thermogate", 200)):
            async with client.get("/api/v1/info", headers={"Cookie": f"{name}={value}"}) as response:
                assert response.status == status


async def test_a_job_with_a_name_of_4_kb_does_not_end_the_pages_of_jobs():
    query = FakeQuery()
    query.status["n1"] = Status(node="n1", online=True, time_ns=NOW)
    for number in range(3):
        job = {"job": f"{number}" + "\u00e9" * 1900, "manager": "unit", "job_id": "1", "user": "u"}
        query.event_list.append(
            Event(
                node="n1",
                event="job_began",
                time_ns=NOW - (number + 1) * NS,
                text="",
                device_kind="gpu",
                device="0",
                data=job,
            )
        )
    async with serving(query, FakeClock(NOW)) as client:
        asked, found = {"limit": "1", "user": "u"}, []
        while True:
            async with client.get("/api/v1/jobs", params=asked) as response:
                answer = await response.json()
            assert response.status == 200, answer
            found += [row["job"][0] for row in answer["rows"]]
            if "next" not in answer:
                break
            asked["cursor"] = answer["next"]
    assert found == ["0", "1", "2"]


@pytest.mark.parametrize(
    "place",
    [{"start_ns": -1}, {"end_ns": 2**63}, {"start_ns": 5, "end_ns": 4}, {"end_ns": 10**30}],
)
def test_a_cursor_of_a_range_that_no_store_has_is_foreign(place):
    first = paging.question(("a",), 0, 10, 1, None)
    held = paging.Place(first.name, 0, 10, (1,))
    forged = paging.Question(first.name, **({"start_ns": 0, "end_ns": 10} | place), limit=1).cursor(held.key)
    with pytest.raises(ConfigError, match="expected one that an answer gave"):
        paging.question(("a",), 0, 10, 1, forged)


@pytest.mark.parametrize(
    "text",
    ["9999999999", "9999999999999999999", "9999-12-31T23:59:59Z", "0001-01-01", "0001-01-01T00:00:00+14:00"],
)
def test_a_time_that_no_store_takes_is_the_first_or_the_last_that_one_does(text):
    assert parse_time(text, NOW) in (0, MOST_NS)


async def test_a_field_that_is_asked_for_a_thousand_times_is_read_once():
    query = FakeFleet([SESSION], nodes=1, gpus=1, now_ns=NOW).query
    async with serving(query, FakeClock(NOW)) as client:
        node = (await query.latest())[0].node
        asked = {"node": node, "device": "gpu0", "fields": ",".join(["rle"] * 1000)}
        async with client.get("/api/v1/series", params=asked) as response:
            assert len(await response.json()) == 1


def test_a_device_that_a_store_tells_twice_is_one_series_for_prometheus():
    twice = [Point("gpu", "n1", "0", model, "", {"power_w": 1.0}, NOW) for model in ("A", "B")]
    told = present(twice, [], [], NOW, DashboardSettings())
    lines = b"".join(text(families(told, INFO, dcgm_names=True))).decode().splitlines()
    assert len([line for line in lines if line.startswith("thermogate_gpu_power_watts{")]) == 1
    assert len([line for line in lines if line.startswith("DCGM_FI_DEV_POWER_USAGE{")]) == 1


def test_the_largest_numbers_on_the_wire_make_a_row_and_a_change():
    huge = dict.fromkeys(("power_w", "temp_c", "rle", "rle_peak", "t_sustain_s", "util_ratio"), 9e307)
    points = [Point("gpu", "n1", "0", "", "", huge | {"collapse": 1.0}, NOW)]
    rows = fleet.rows(points, [], [], NOW, DashboardSettings())
    told = Told()
    assert msgspec.json.decode(msgspec.json.encode(told.update(rows, NOW, force=True)))
    assert msgspec.json.decode(msgspec.json.encode(told.whole()))["rows"][0]["power_w"] > 1e300


def test_rows_stand_in_the_order_that_pages_are_cut_by():
    names = ("n1", "n2", "n10", "N1", "n01", "1", "a")
    points = [
        Point(kind, node, device, "", "", {"temp_c": 50.0}, NOW - age * NS)
        for age, node in enumerate(names * 2)
        for kind in ("gpu", "cpu")
        for device in ("0", "00", "10", "2", "x")
    ]
    rows = fleet.rows(points, [], [], NOW, DashboardSettings())
    assert len({row.state for row in rows}) == 2
    keys = [fleet.sort_key(fleet.place(row), "urgency") for row in rows]
    assert keys == sorted(keys)
    assert len(rows) == len(names) * 10


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_one_is_refused_before_a_store_is_asked(limit):
    answers = Answers(FakeQuery(), FakeClock(NOW), QUICK)
    for asked in (answers.top("gpu", "rle", 0, 1, limit), answers.events(0, 1, None, limit)):
        with pytest.raises(ConfigError, match="limit: expected a whole number from 1"):
            await asked
