"""A dashboard on a free port, for tests that ask it as a client does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import msgspec

from tests.fake_query import FakeQuery
from thermogate.core.clock import Clock
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.settings import DashboardSettings

QUICK = DashboardSettings(listen="127.0.0.1:0", poll_s=0.02, heartbeat_s=0.2, store_timeout_s=0.3)


@asynccontextmanager
async def serving(
    query: FakeQuery, clock: Clock, settings: DashboardSettings = QUICK, **session: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """A session, made with these options, whose paths are relative to the dashboard."""
    answers = Answers(query, clock, settings, broker_url="mqtt://127.0.0.1:1883")
    async with Dashboard(answers, settings) as dashboard:
        running = asyncio.create_task(dashboard.run())
        async with aiohttp.ClientSession(dashboard.url, **session) as client:
            yield client
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


class Listener:
    """Reads server-sent events one at a time."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content

    async def next(self) -> tuple[str, dict]:
        """(event, data) of the next message, within a few seconds."""
        async with asyncio.timeout(5):
            event = (await self._content.readline()).decode().removeprefix("event: ").strip()
            data = (await self._content.readline()).decode().removeprefix("data: ")
            await self._content.readline()
        return event, msgspec.json.decode(data)

    async def until(self, wanted: str) -> dict:
        """The data of the next message of that name; those before it are dropped."""
        event, data = "", {}
        while event != wanted:
            event, data = await self.next()
        return data
