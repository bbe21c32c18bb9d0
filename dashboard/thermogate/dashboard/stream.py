"""Server-sent events: the feed, one connection a page."""

import asyncio
from contextlib import suppress

from aiohttp import web

from thermogate.core.clock import Clock
from thermogate.dashboard import admission
from thermogate.dashboard.feed import Feed, Mailbox, message
from thermogate.dashboard.params import Params
from thermogate.dashboard.routes import ROUTES

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy that waits for more would hold back what is live
}


class Stream:
    """Handler of /api/v1/stream. A client that does not read holds up nobody but itself."""

    def __init__(self, feed: Feed, clock: Clock, heartbeat_s: float) -> None:
        self._feed = feed
        self._clock = clock
        self._heartbeat_s = heartbeat_s

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Send until the client goes, its token is revoked or the dashboard closes."""
        Params(request.query, ROUTES[request.path].parameters, self._clock.utc_ns())
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        still_may = admission.of(request).still_may
        # A client that has gone is the usual end of a stream, not an error.
        with suppress(ConnectionResetError), self._feed.listen() as mailbox:
            await response.write(self._stamped("hello", heartbeat_s=self._heartbeat_s))
            while not mailbox.closed and still_may():
                await response.write(await self._next(mailbox))
        return response

    async def _next(self, mailbox: Mailbox) -> bytes:
        try:
            async with asyncio.timeout(self._heartbeat_s):
                return await mailbox.take()
        except TimeoutError:
            return self._stamped("beat")

    def _stamped(self, event: str, **data: float) -> bytes:
        return message(event, {"now_ns": self._clock.utc_ns(), **data})
