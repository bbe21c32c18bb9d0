"""What is made of an answer over HTTP that is not one, from a real server on this machine."""

import argparse
import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from thermogate.cli import asking
from thermogate.cli.asking import Remote
from thermogate.core.errors import ConfigError, UnavailableError


@asynccontextmanager
async def answering(status, body):
    """A Remote whose every question is answered so."""

    async def handle(_request):
        return web.Response(status=status, body=body)

    server = web.Server(handle)
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield Remote(f"http://{host}:{port}")
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b"\xff",
        b'{"rows":[{"job":"a","manager":"m","job_id":"a","user":"","state":"ended","device_s":null}]}',
        b'{"rows":[{"job":"a","manager":"m","job_id":"a","user":"","state":"\\u001b[2J"}]}',
    ],
)
async def test_answer_that_is_not_one_is_an_error_for_a_person(body):
    async with answering(200, body) as remote:
        with pytest.raises(UnavailableError, match="what it answers to jobs is not as expected") as caught:
            await remote.jobs(start_ns=0, end_ns=1)
    assert str(caught.value).isprintable()


async def test_reason_of_a_refusal_is_shown_without_what_steers_a_terminal():
    async with answering(400, b'{"error": "from: \\u001b[2Jno\\nrow"}') as remote:
        with pytest.raises(UnavailableError, match=r"from: \?\[2Jno\?row"):
            await asyncio.wait_for(remote.jobs(), 60)


@asynccontextmanager
async def noting(handle):
    """A Remote with a token, and the requests that its server gets."""
    seen = []

    async def note(request):
        seen.append(request)
        return handle(request)

    runner = web.ServerRunner(web.Server(note))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield Remote(f"http://{host}:{port}", "thermogate_secret"), seen
    finally:
        await runner.cleanup()


async def test_token_goes_with_every_question_and_is_in_no_error():
    async with noting(lambda _: web.Response(status=401, body=b'{"error": "not known"}')) as (remote, seen):
        with pytest.raises(
            UnavailableError, match="not known; give a token with --token-file FILE"
        ) as caught:
            await remote.nodes()
        assert seen[0].headers["Authorization"] == "Bearer thermogate_secret"
        assert "secret" not in str(caught.value)


async def test_token_does_not_follow_a_redirect():
    def away(request):
        return web.Response(
            status=302, headers={"Location": f"http://localhost:{request.url.port}/elsewhere"}
        )

    async with noting(away) as (remote, seen):
        with pytest.raises(UnavailableError, match="HTTP 302"):
            await remote.nodes()
        assert len(seen) == 1


async def test_token_for_loopback_goes_to_no_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    async with noting(lambda _: web.Response(body=b"[]")) as (remote, seen):
        assert await remote.nodes() == []
        assert len(seen) == 1


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"error": ' * 10_000, b"\xff", b""])
async def test_refusal_that_is_no_sentence_is_told_by_its_number(body):
    async with noting(lambda _: web.Response(status=418, body=body)) as (remote, _):
        with pytest.raises(UnavailableError, match="HTTP 418"):
            await remote.nodes()


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://a..b:1", "http://a:b", "http://a\nb", "http://", "file:///etc"]
)
async def test_url_that_is_none_is_one_sentence(url):
    with pytest.raises(UnavailableError):
        await Remote(url).nodes()


async def test_answer_that_breaks_off_is_one_sentence():
    def half(request):
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[")
        request.transport.close()
        return web.Response()

    async with noting(half) as (remote, _):
        with pytest.raises(UnavailableError, match="its answer broke off"):
            await remote.nodes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "thermogate_of_environment"),
        (["--token", "thermogate_given"], "thermogate_given"),
        (["--token-file", "FILE"], "thermogate_of_file"),
    ],
)
async def test_token_is_taken_from_where_it_is_given(arguments, expected, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("thermogate_of_file\n")
    monkeypatch.setenv("THERMOGATE_TOKEN", "thermogate_of_environment")
    parser = argparse.ArgumentParser()
    asking.add_arguments(parser)
    async with noting(lambda _: web.Response(body=b"[]")) as (remote, seen):
        given = [str(file) if one == "FILE" else one for one in arguments]
        args = parser.parse_args(["--url", remote.url, *given])
        async with asking.answers(args) as answers:
            assert await answers.nodes() == []
    assert seen[0].headers["Authorization"] == f"Bearer {expected}"


async def test_token_that_can_be_none_is_not_repeated(capsys):
    parser = argparse.ArgumentParser()
    asking.add_arguments(parser)
    args = parser.parse_args(["--token", "two words\n"])
    with pytest.raises(ConfigError) as caught:
        async with asking.answers(args):
            pass
    assert "words" not in str(caught.value)
