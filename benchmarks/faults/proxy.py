"""Stands before a real database and lets it seem to be in trouble: `with Proxy(url) as proxy`."""

import asyncio
import threading
from collections import Counter
from types import TracebackType
from typing import Literal, Self

import aiohttp
from aiohttp import web

Mode = Literal["well", "500", "503", "silent", "forgets"]
"""What becomes of a write: passed on; answered so, not passed on; never answered, not passed on; passed on,
and the connection closed without the answer."""

_START_S = 20.0
_RETRY_AFTER_S = 3
_HOP_BY_HOP = ("Connection", "Transfer-Encoding", "Content-Encoding", "Content-Length", "Keep-Alive")


class Proxy:
    """Questions are always passed on. `injected` counts the writes that met with each mode but "well"."""

    def __init__(self, upstream: str) -> None:
        self.mode: Mode = "well"
        self.injected: Counter[str] = Counter()
        self.url = ""
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._ending = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise SystemExit("the proxy does not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_START_S)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            await site.start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            self._ready.set()
            await self._ending.wait()
            await runner.cleanup()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*left, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        mode = self.mode if request.path.endswith("/write") else "well"
        if mode != "well":
            self.injected[mode] += 1
        if mode == "500":
            return web.json_response({"error": "engine: cache maximum memory size exceeded"}, status=500)
        if mode == "503":
            return web.json_response(
                {"error": "overloaded"}, status=503, headers={"Retry-After": str(_RETRY_AFTER_S)}
            )
        if mode == "silent":
            await self._ending.wait()  # the client has long had enough
        answer = await self._pass_on(request, body)
        if mode == "forgets" and request.transport is not None:
            request.transport.close()
        return answer

    async def _pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {
            name: value for name, value in request.headers.items() if name not in ("Host", *_HOP_BY_HOP)
        }
        if "Content-Encoding" in request.headers:
            headers["Content-Encoding"] = request.headers["Content-Encoding"]
        url = self._upstream + request.raw_path
        try:
            async with self._session.request(request.method, url, data=body, headers=headers) as found:
                kept = {name: value for name, value in found.headers.items() if name not in _HOP_BY_HOP}
                if "Content-Encoding" in found.headers:
                    kept["Content-Encoding"] = found.headers["Content-Encoding"]
                return web.Response(status=found.status, headers=kept, body=await found.read())
        except (aiohttp.ClientError, OSError) as err:
            return web.json_response({"error": str(err)}, status=502)
