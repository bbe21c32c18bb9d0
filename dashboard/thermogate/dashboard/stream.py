"""Server-sent events: the feed, one connection a page."""

import asyncio
from contextlib import suppress

from aiohttp import web

from thermogate.core.clock import Clock
from thermogate.dashboard import admission
from thermogate.dashboard.bounds import Turns
from thermogate.dashboard.feed import Feed, Mailbox, message
from thermogate.dashboard.params import Params
from thermogate.dashboard.routes import ROUTES
from thermogate.dashboard.settings import DashboardSettings

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that waits for more would hold back what is live
}


class Stream:
    """Handler of /api/v1/stream. A client that does not read holds up nobody but itself, and not for ever."""

    def __init__(self, feed: Feed, clock: Clock, settings: DashboardSettings, turns: Turns) -> None:
        self._feed = feed
        self._clock = clock
        self._heartbeat_s = settings.heartbeat_s
        self._turns = turns
        self._stalled_s = settings.stalled_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Send until the client goes, its token is revoked or the dashboard closes."""
        Params(request.query, ROUTES[request.path].parameters, self._clock.utc_ns())
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        with self._turns.one():
            return await self._stream(request)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        still_may = admission.of(request).still_may
        # A client that has gone is the usual end of a stream, not an error.
        with suppress(ConnectionError), self._feed.listen() as mailbox:
            said = self._stamped("hello", heartbeat_s=self._heartbeat_s)
            while await self._sent(request, response, said) and not mailbox.closed and still_may():
                said = await self._next(mailbox)
        return response

    async def _sent(self, request: web.Request, response: web.StreamResponse, said: bytes) -> bool:
        """False for a client that has not taken what was sent before."""
        try:
            async with asyncio.timeout(self._stalled_s):
                await response.write(said)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            return False
        return True

    async def _next(self, mailbox: Mailbox) -> bytes:
        try:
            async with asyncio.timeout(self._heartbeat_s):
                return await mailbox.take()
        except TimeoutError:
            return self._stamped("beat")

    def _stamped(self, event: str, **data: float) -> bytes:
        return message(event, {"now_ns": self._clock.utc_ns(), **data})
