"""`/metrics`: the present, for Prometheus and what reads its text format."""

import asyncio
import logging

from aiohttp import web

from thermogate.core.errors import StoreError
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.bounds import Turns
from thermogate.dashboard.prometheus_families import families
from thermogate.dashboard.prometheus_text import CONTENT_TYPE, text
from thermogate.dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

_HEADERS = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
_GIVE_UP_S = 60.0
"""Prometheus itself waits 10 s for a scrape; one that does not read holds the values of the whole fleet."""


class Prometheus:
    """Handler of /metrics. What is stale or offline is not told, and samples carry no time.

    A store that does not answer is a 503, so that a scrape without answer ends every series there.
    """

    def __init__(
        self, answers: Answers, settings: DashboardSettings, *, give_up_s: float = _GIVE_UP_S
    ) -> None:
        self._answers = answers
        self._settings = settings
        self._give_up_s = give_up_s
        self._turns = Turns(settings.long_answers, "scrapes", "long_answers")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Made a family at a time, in a thread: the whole is 59 MB for 8,000 GPUs, and takes 1 s."""
        if request.method == "HEAD":
            return web.Response(headers=_HEADERS)
        with self._turns.one():
            return await self._scrape(request)

    async def _scrape(self, request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(self._settings.store_timeout_s):
                present = await self._answers.present()
        except StoreError as err:
            return web.Response(status=503, text=f"{err}\n")
        except TimeoutError:
            waited_s = self._settings.store_timeout_s
            return web.Response(status=503, text=f"the store has not answered for {waited_s:g} s\n")
        response = web.StreamResponse(headers=_HEADERS)
        response.enable_compression()
        await response.prepare(request)
        pieces = text(families(present, self._answers.info(), dcgm_names=self._settings.dcgm_names))
        try:
            async with asyncio.timeout(self._give_up_s):
                while piece := await asyncio.to_thread(next, pieces, b""):
                    await response.write(piece)
                await response.write_eof()
        except (ConnectionError, TimeoutError):
            log.debug("a scrape was given up")
            if request.transport is not None:
                request.transport.abort()
        return response
