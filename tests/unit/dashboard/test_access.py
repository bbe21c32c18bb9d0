"""Who may ask, over HTTP as strangers, scripts and browsers do."""

import asyncio
import stat

import aiohttp
import msgspec
import pytest

from tests.fake_query import FakeQuery
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import QUICK, Listener, serving
from tests.unit.dashboard.test_api import NOW
from thermogate.core.errors import ConfigError
from thermogate.dashboard import hosts, token_file, tokens
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard, create_app
from thermogate.dashboard.failures import Failures
from thermogate.dashboard.routes import OPEN_PATHS, ROUTES, SCOPES
from thermogate.dashboard.settings import DashboardSettings


class Site:
    """A dashboard with a token of each scope."""

    def __init__(self, folder):
        self.file = folder / "tokens.json"
        self.text = {}
        for scope in ("read", "admin"):
            self.text[scope], token = tokens.make(scope, scope, NOW)
            token_file.edit(self.file, lambda known, new=token: (*known, new))
        self.clock = FakeClock(NOW)
        self.settings = msgspec.structs.replace(QUICK, tokens_file=str(self.file))

    def bearer(self, scope):
        return {"Authorization": f"Bearer {self.text[scope]}"}

    def serving(self, **session):
        cookies = aiohttp.CookieJar(unsafe=True)  # also of an address without a name, as browsers do
        return serving(FakeQuery(), self.clock, self.settings, cookie_jar=cookies, **session)

    def revoke(self, name):
        token_file.edit(self.file, lambda known: tuple(one for one in known if one.name != name))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def raw(client, path):
    """The status of a path that no client would send as it is."""
    reader, writer = await asyncio.open_connection(client._base_url.host, client._base_url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


async def test_every_path_needs_a_token_but_the_form_and_its_files(site):
    app = create_app(Answers(FakeQuery(), site.clock, site.settings), site.settings, None, None)
    paths = {route.resource.canonical for route in app.router.routes()}
    assert paths == set(SCOPES) | OPEN_PATHS
    async with site.serving() as client:
        for path in SCOPES:
            async with client.get(path, allow_redirects=False) as response:
                assert response.status == (303 if path == "/" else 401), path
        for path in (
            "/static/../api/v1/fleet",
            "/static/%2e%2e/api/v1/fleet",
            "/api/v1/%66leet",
            "//api/v1/fleet",
        ):
            assert await raw(client, path) in (401, 404), path
        for path in ("/login", "/plotly.min.js", "/static/login.js", "/static/style.css"):
            async with client.get(path) as response:
                assert response.status == 200, path


@pytest.mark.parametrize("path", sorted(SCOPES))
async def test_a_token_that_reads_may_read_everything_there_is_now(site, path):
    query = "?node=n1&device=gpu0&fields=rle" if path.endswith("series") else ""
    query = "?field=rle" if path.endswith("top") else query
    query = "?target=node/n1" if path.endswith("explain") else query
    async with site.serving(headers=site.bearer("read")) as client, client.get(path + query) as response:
        assert response.status == 200


async def test_where_data_is_kept_is_told_to_admins_only(site):
    async with site.serving() as client:
        found = {}
        for scope in ("read", "admin"):
            async with client.get("/api/v1/info", headers=site.bearer(scope)) as response:
                found[scope] = (await response.json())["broker_url"]
    assert found == {"read": "", "admin": "mqtt://127.0.0.1:1883"}


async def test_a_path_of_scope_admin_is_refused_to_who_may_only_read(site, monkeypatch):
    monkeypatch.setitem(SCOPES, "/api/v1/nodes", "admin")
    async with site.serving() as client:
        async with client.get("/api/v1/nodes", headers=site.bearer("read")) as response:
            said = (await response.json())["error"]
            assert (response.status, said) == (403, "token read has scope read: this needs admin")
        async with client.get("/api/v1/nodes", headers=site.bearer("admin")) as response:
            assert response.status == 200


async def test_what_is_said_without_and_with_a_wrong_token(site):
    wrong = {"Authorization": f"Bearer {tokens.PREFIX}{'A' * 43}"}
    async with site.serving() as client:
        async with client.get("/api/v1/fleet") as response:
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="thermogate"'
            assert "thermogate tokens create" in (await response.json())["error"]
        async with client.get("/api/v1/fleet", headers=wrong) as response:
            said = await response.text()
            assert (response.status, "AAAA" in said) == (401, False)
        async with client.get("/api/v1/nothing", headers=site.bearer("read")) as response:
            assert response.status == 404
        async with client.get("/api/v1/fleet", headers={"Authorization": "Basic YTpi"}) as response:
            assert response.status == 401


async def test_wrong_tokens_are_put_off_and_right_ones_never(site):
    wrong = {"Authorization": "Bearer wrong"}
    async with site.serving() as client:
        seen = []
        for _ in range(site.settings.auth_failures + 3):
            async with client.get("/api/v1/fleet", headers=wrong) as response:
                seen.append(response.status)
                after = response.headers.get("Retry-After")
        assert seen == [401] * site.settings.auth_failures + [429] * 3
        assert 1 <= int(after) <= 60
        async with client.get("/api/v1/fleet", headers=site.bearer("read")) as response:
            assert response.status == 200
        site.clock.pass_time(float(after))
        async with client.get("/api/v1/fleet", headers=wrong) as response:
            assert response.status == 401


def test_failures_of_many_addresses_take_bounded_memory_and_shut_out_no_other():
    failures = Failures(FakeClock(), 3, 60.0)
    assert [failures.note("a") > 0 for _ in range(5)] == [False, False, False, True, True]
    assert failures.note("b") == 0
    for number in range(10_000):
        failures.note(str(number))
    assert len(failures._free_s) <= 4096


def test_one_machine_with_every_address_of_a_network_counts_as_one():
    assert hosts.neighbourhood("2001:db8::1") == hosts.neighbourhood("2001:db8::ffff:2")
    assert hosts.neighbourhood("2001:db8:0:1::1") != hosts.neighbourhood("2001:db8::1")
    assert hosts.neighbourhood("::ffff:10.0.0.1") == hosts.neighbourhood("10.0.0.1")


async def test_a_token_that_is_revoked_is_out_at_once_with_its_session_and_stream(site):
    async with site.serving() as client:
        async with client.post("/login", data={"token": site.text["read"]}) as response:
            assert response.status == 204
        async with client.get("/api/v1/stream") as stream:
            assert (await Listener(stream).next())[0] == "hello"
            site.revoke("read")
            async with client.get("/api/v1/fleet") as response:
                assert response.status == 401
            await stream.read()
        async with client.get("/api/v1/fleet", headers=site.bearer("read")) as response:
            assert response.status == 401
        async with client.get("/api/v1/fleet", headers=site.bearer("admin")) as response:
            assert response.status == 200


async def test_a_browser_logs_in_and_out(site):
    async with site.serving() as client:
        async with client.post("/login", data={"token": "thermogate_no"}) as response:
            assert (response.status, response.cookies) == (401, {})
        async with client.post("/login", data={"token": f" {site.text['read']}\n"}) as response:
            cookie = response.cookies["thermogate"]
            assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
            assert site.text["read"] not in cookie.value
        async with client.get("/") as response:
            assert "Log out" in await response.text()
        async with client.get("/api/v1/info") as response:
            assert (await response.json())["session"] is True
        kept = {"Cookie": f"thermogate={cookie.value}"}
        async with client.post("/logout") as response:
            assert response.status == 204
        async with client.get("/api/v1/info", headers=kept) as response:
            assert response.status == 401


async def test_a_session_ends_by_itself(site):
    async with site.serving() as client:
        async with client.post("/login", data={"token": site.text["read"]}):
            pass
        site.clock.pass_time(site.settings.session_h * 3600 + 1)
        async with client.get("/api/v1/fleet") as response:
            assert response.status == 401


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_a_foreign_page_can_send_nothing(site, headers):
    async with site.serving() as client:
        async with client.post("/login", data={"token": site.text["read"]}, headers=headers) as response:
            assert (response.status, response.cookies) == (403, {})
        proxied = {"Origin": "https://gpu.example", "Sec-Fetch-Site": "same-origin"}
        async with client.post("/login", data={"token": site.text["read"]}, headers=proxied) as response:
            assert response.status == 204
        own = {"Origin": str(client._base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
        async with client.post("/login", data={"token": site.text["read"]}, headers=own) as response:
            assert response.status == 204


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8420", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("10.1.2.3:8420", 200),
        ("page.localhost", 200),
        ("gpu.example:8420", 200),
        ("GPU.example.", 200),
        ("evil.example:8420", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ],
)
async def test_without_tokens_a_foreign_name_is_refused(host, status):
    settings = msgspec.structs.replace(QUICK, hosts=("gpu.example",))
    async with serving(FakeQuery(), FakeClock(NOW), settings) as client:
        async with client.get("/api/v1/fleet", headers={"Host": host}) as response:
            assert response.status == status


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "whoever reaches it may ask: set dashboard.tokens_file"),
        ({"allow_anonymous": True}, "in the clear: set dashboard.cert_file"),
        ({"tokens_file": "tokens"}, "in the clear: set dashboard.cert_file"),
        ({"allow_plain_http": True, "cert_file": "c"}, "whoever reaches it may ask"),
    ],
)
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "gpu.example:0"])
async def test_listening_beyond_loopback_needs_tokens_and_tls_or_the_word_of_a_setting(listen, changes, said):
    settings = DashboardSettings(listen=listen, **changes)
    with pytest.raises(ConfigError, match=said):
        await Dashboard(Answers(FakeQuery(), FakeClock(), settings), settings).__aenter__()


async def test_a_word_of_two_settings_opens_it_to_all():
    settings = DashboardSettings(listen="0.0.0.0:0", allow_anonymous=True, allow_plain_http=True)
    async with Dashboard(Answers(FakeQuery(), FakeClock(), settings), settings) as dashboard:
        port = dashboard.url.rsplit(":", 1)[1]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            async with client.get("/api/v1/nodes") as response:
                assert response.status == 200


def test_a_token_is_256_random_bits_of_which_a_hash_is_kept(site):
    text = site.text["read"]
    assert text.startswith("thermogate_")
    assert len(text) == len("thermogate_") + 43
    kept = site.file.read_text()
    assert text not in kept
    assert text.removeprefix("thermogate_") not in kept
    assert stat.S_IMODE(site.file.stat().st_mode) == 0o600


def test_an_edit_keeps_the_owner_and_mode_that_a_file_has(site):
    site.file.chmod(0o640)
    site.revoke("read")
    assert stat.S_IMODE(site.file.stat().st_mode) == 0o640
    assert [token.name for token in token_file.read(site.file)] == ["admin"]
    assert [path.name for path in site.file.parent.iterdir()] == ["tokens.json"]


@pytest.mark.parametrize("body", ["", "{}", '{"tokens": [{"name": "a"}]}', "\x00"])
def test_a_file_that_holds_no_tokens_is_refused(tmp_path, body):
    file = tmp_path / "tokens.json"
    file.write_text(body)
    with pytest.raises(ConfigError, match="not a file of tokens"):
        token_file.read(file)


def test_a_file_that_others_may_write_is_refused(site):
    site.file.chmod(0o620)
    with pytest.raises(ConfigError, match="others may write it: chmod 600"):
        token_file.read(site.file)


def test_a_damaged_file_changes_nothing_and_one_that_is_gone_lets_nobody_in(site, caplog):
    read = token_file.TokenFile(site.file)
    read.load()
    before = read.tokens()
    site.file.write_text("half of")
    assert read.tokens() == before
    site.file.unlink()
    assert read.tokens() == ()
    assert "nobody may ask until it is back" in caplog.text


def test_every_token_is_compared(site):
    known = token_file.read(site.file)
    assert [tokens.find(site.text[name], known).name for name in ("read", "admin")] == ["read", "admin"]
    assert tokens.find(site.text["read"][:-1] + "!", known) is None
    assert tokens.find("", known) is None


def test_every_route_has_a_scope():
    assert set(ROUTES) < set(SCOPES)
