"""A small HTTP server that keeps what it was asked, in the place of an InfluxDB 2.x or 3.x.

Neither can be installed where these tests run: they show what is sent, as the documentation of those
servers asks for it, and what is made of what they are documented to answer, not that one takes it.
"""

import json
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


class Recorder:
    """Answers writes with `status`, `headers` and `text`, questions with `answer`, and what is in
    `answers` by method and path with a status and JSON (of a list one after the other); keeps what it
    was asked."""

    def __init__(self, **ping: str) -> None:
        self.ping = {"X-Influxdb-Version": "v2.7.1", "X-Influxdb-Build": "OSS"} | ping
        self.ping_status, self.metrics = 204, ""
        self.status, self.headers, self.text = 204, {}, ""
        self.answer = '{"results":[{"statement_id":0}]}'
        self.answers: dict[tuple[str, str], tuple[int, Any] | list[tuple[int, Any]]] = {}
        self.requests: list[tuple[str, dict[str, str], str, bytes]] = []
        self.methods: list[tuple[str, str, Any]] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url(""))

    def asked(self, path: str) -> list[tuple[dict[str, str], str, bytes]]:
        return [rest for its_path, *rest in self.requests if its_path == path]  # type: ignore[misc]

    def changed(self) -> list[tuple[str, str, Any]]:
        """Method, path and JSON of what was not only looked at."""
        return [one for one in self.methods if one[0] != "GET" and "query" not in one[1]]

    def _next(self, request: web.Request) -> tuple[int, Any]:
        found = self.answers[request.method, request.path]
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    async def _handle(self, request: web.Request) -> web.Response:
        authorization, body = request.headers.get("Authorization", ""), await request.read()
        self.requests.append((request.path, dict(request.query), authorization, body))
        sent = json.loads(body) if request.content_type == "application/json" and body else None
        self.methods.append((request.method, request.path, sent))
        if (request.method, request.path) in self.answers:
            status, said = self._next(request)
            return web.Response(status=status, text="" if said is None else json.dumps(said))
        if request.path == "/ping":
            return web.Response(status=self.ping_status, headers=self.ping)
        if request.path == "/metrics":
            return web.Response(text=self.metrics)
        if request.path == "/query":
            return web.Response(text=self.answer)
        return web.Response(status=self.status, headers=self.headers, text=self.text)
