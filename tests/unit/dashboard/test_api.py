import csv
import io
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.fake_fleet import FakeFleet, decision
from tests.fake_query import FakeQuery, recorded
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import serving
from thermogate.core.clock import NS, SystemClock
from thermogate.core.decision import GateDecision, State
from thermogate.core.errors import StoreError
from thermogate.core.model import Event, Status
from thermogate.core.query import Ranked, Series
from thermogate.dashboard.answers import FleetRow, Info

NOW = 1_763_712_000 * NS
SESSIONS = Path(__file__).parents[2] / "recordings" / "rle_sessions"
LISTS = ["fleet", "nodes", "gates", "events", "decisions"]
SESSION = SESSIONS / "headroom_training_1.csv"


@pytest.fixture
async def fleet():
    made = FakeFleet([SESSION], nodes=2, gpus=2, now_ns=NOW)
    made.collapse_event("gpu-01", "0", NOW - 60 * NS)
    made.query.decision_list = [decision("gpu-01", State.HOLD, "4 collapses", now_ns=NOW - NS, id_="A")]
    return made


@pytest.fixture
async def client(fleet):
    async with serving(fleet.query, FakeClock(NOW)) as session:
        yield session


@pytest.mark.parametrize(
    ("path", "of"),
    [
        ("fleet", list[FleetRow]),
        ("nodes", list[Status]),
        ("gates", list[GateDecision]),
        ("decisions?from=1h&target=gpu-01&limit=5", list[GateDecision]),
        ("events?node=gpu-01", list[Event]),
        ("top?field=temp_c&kind=gpu&limit=3&by=max&largest=false", list[Ranked]),
        ("series?node=gpu-01&device=gpu0&fields=temp_c,rle&from=-5m&step=10s", list[Series]),
        ("info", Info),
    ],
)
async def test_every_answer_can_be_read_back_as_what_it_was(client, path, of):
    async with client.get(f"/api/v1/{path}") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        answer = msgspec.json.decode(await response.read(), type=of)
    assert answer


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("gates?node=n1", "node: no such parameter: this path takes none"),
        ("fleet?node=a/b", "node: expected a name, with * for any characters and ? for one, not 'a/b'"),
        ("fleet?state=warm", "state: expected repair or collapse or"),
        ("fleet?cursor=abc", "cursor: expected one that an answer gave as its next"),
        ("top", "field: missing"),
        ("top?ranking=hottest&field=temp_c", "ranking: hottest has its own field, by and largest"),
        ("top?ranking=coldest", "ranking: expected hottest or least-efficient or"),
        ("events?form=1h", "form: no such parameter: expected one of from, to, node, limit"),
        ("events?from=yesterday", "from: 'yesterday' is not a time: expected RFC 3339"),
        ("events?from=now", "from: expected a time before `to`"),
        ("events?limit=-1", "limit: expected a whole number from 1 to 10000, not '-1'"),
        ("events?limit=99999", "limit: expected a whole number from 1 to 10000"),
        ("events?node=a%20b", "node: expected 1 to 128 of A-Z a-z 0-9 . _ -, not 'a b'"),
        ("series?device=gpu0&fields=temp_c", "node: missing"),
        ("series?node=n1&fields=temp_c", "device: missing"),
        ("series?node=n1&device=0&fields=temp_c", "device: '0' is not a kind and a number"),
        ("series?node=n1&device=gpu0", "fields: missing"),
        ("series?node=n1&device=gpu0&fields=power", "field: gpu has no 'power': expected one of power_w"),
        ("series?node=n1&device=gpu0&fields=temp_c&step=soon", "step: 'soon' is not a duration"),
        ("series?node=n1&device=gpu0&fields=temp_c&from=7d&step=1s", "step: expected 31 s or more"),
        ("top?field=temp_c&kind=agent", "kind: expected gpu or cpu, not 'agent'"),
        ("top?field=temp_c&by=median", "by: expected mean or min or max, not 'median'"),
        ("top?field=temp_c&largest=yes", "largest: expected true or false, not 'yes'"),
        ("export?format=xml", "format: expected csv, not 'xml'"),
        ("export?device=0", "device: '0' is not a kind and a number"),
    ],
)
async def test_a_wrong_parameter_is_400_with_its_name_and_what_was_expected(client, path, error):
    async with client.get(f"/api/v1/{path}") as response:
        assert response.status == 400
        assert (await response.json())["error"].startswith(error)


async def test_unknown_paths_and_methods_are_json_errors_too(client):
    async with client.get("/api/v1/fleets") as response:
        assert (response.status, await response.json()) == (404, {"error": "/api/v1/fleets: no such path"})
    async with client.post("/api/v1/fleet") as response:
        assert (response.status, await response.json()) == (405, {"error": "POST: expected GET, HEAD"})
        assert response.headers["Allow"] == "GET, HEAD"
    async with client.get("/nothing") as response:
        assert (response.status, await response.json()) == (404, {"error": "/nothing: no such path"})


@pytest.mark.parametrize("size", [16_000, 60_000])
async def test_what_is_too_long_is_a_json_error_too(client, size):
    async with client.get(f"/api/v1/jobs?user={'a' * size}") as response:
        assert (response.status, (await response.json())["error"][:6]) == (414, "a path")
    headers = {f"X-{n}": "a" * (size // 3) for n in range(4)}
    async with client.get("/api/v1/fleet", headers=headers) as response:
        assert (response.status, (await response.json())["error"][:7]) == (431, "headers")
    async with client.post("/login", data=b"token=" + b"a" * 2 * size) as response:
        assert (response.status, (await response.json())["error"][:6]) == (413, "a body")


async def test_head_is_answered_like_get_without_a_body(client):
    for path in ("/", "/metrics", *(f"/api/v1/{name}" for name in (*LISTS, "export", "stream", "info"))):
        async with client.head(path) as response:
            assert (response.status, await response.read()) == (200, b""), path


@pytest.mark.parametrize(
    "path", ["fleet", "nodes", "gates", "events", "decisions", "export", "top?field=temp_c"]
)
async def test_a_store_that_cannot_answer_is_503_with_its_reason(client, fleet, path):
    fleet.query.broken = "the database is away"
    async with client.get(f"/api/v1/{path}") as response:
        assert (response.status, await response.json()) == (503, {"error": "the database is away"})


@pytest.mark.parametrize("path", LISTS)
async def test_an_unchanged_list_costs_no_body(client, path):
    async with client.get(f"/api/v1/{path}") as response:
        tag = response.headers["ETag"]
    async with client.get(f"/api/v1/{path}", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")


async def test_the_tag_of_the_fleet_changes_with_a_sample(client, fleet):
    async with client.get("/api/v1/fleet") as response:
        tag = response.headers["ETag"]
    fleet.tick(NOW + NS)
    async with client.get("/api/v1/fleet", headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] != tag


async def test_an_export_streams_what_was_recorded():
    points = recorded(SESSION, node="n1", end_ns=NOW)
    path = "/api/v1/export?node=n1&device=gpu0"
    async with serving(FakeQuery(points), FakeClock(NOW)) as client, client.get(path) as response:
        assert response.content_type == "text/csv"
        assert response.headers["Transfer-Encoding"] == "chunked"
        rows = list(csv.DictReader(io.StringIO(await response.text())))
    assert len(rows) == len(points)


async def test_an_export_that_breaks_off_is_seen_to_be_incomplete():
    class Breaking(FakeQuery):
        async def samples(self, **asked):
            async for chunk in super().samples(**asked):
                yield chunk
                raise StoreError("the disk is gone")

    query = Breaking(recorded(SESSION, node="n1", end_ns=NOW))
    async with serving(query, FakeClock(NOW)) as client:
        with pytest.raises(aiohttp.ClientError):
            await whole(client, "/api/v1/export")


async def whole(client, path):
    async with client.get(path) as response:
        return await response.read()


async def test_the_page_and_all_it_loads_come_from_here_under_a_strict_policy():
    async with serving(FakeQuery(), SystemClock()) as client:
        for path in ("/", "/static/app.js", "/static/style.css", "/plotly.min.js", "/api/v1/fleet"):
            async with client.get(path) as response:
                assert response.status == 200
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'; script-src 'self';" in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_page_names_no_other_host():
    static = Path(__file__).parents[3] / "dashboard" / "thermogate" / "dashboard" / "static"
    for file in static.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name


async def test_plotly_is_compressed_and_kept_by_the_browser():
    async with serving(FakeQuery(), SystemClock()) as client:
        async with client.get("/plotly.min.js") as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert "max-age=604800" in response.headers["Cache-Control"]
            tag = response.headers["ETag"]
            assert b"Plotly" in await response.read()
        async with client.get("/plotly.min.js", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
        async with client.get("/plotly.min.js", headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            assert len(await response.read()) > 1_000_000
