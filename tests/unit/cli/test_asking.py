"""What is made of an answer over HTTP that is not one, from a real server on this machine."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from thermogate.cli.asking import Remote
from thermogate.core.errors import UnavailableError


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
