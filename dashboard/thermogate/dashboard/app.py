"""The composition root of the dashboard: one web application that listens on one address."""

import errno
import logging
import os
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from thermogate.core.errors import UnavailableError
from thermogate.dashboard import page
from thermogate.dashboard.access import Access
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.api import Api
from thermogate.dashboard.bounds import BoundedSite, Turns
from thermogate.dashboard.feed import Feed
from thermogate.dashboard.hosts import check_exposure
from thermogate.dashboard.login import Login
from thermogate.dashboard.prometheus import Prometheus
from thermogate.dashboard.responses import MOST_BODY_BYTES, errors_as_json
from thermogate.dashboard.routes import PREFIX
from thermogate.dashboard.settings import DashboardSettings, split_listen
from thermogate.dashboard.stream import Stream
from thermogate.dashboard.tls import ServerTls
from thermogate.dashboard.token_file import TokenFile

_SHUTDOWN_S = 0.5
"""What an answer in progress has to end once the streams are closed; Ctrl-C has 2 s in all."""

_LINGER_S = 1.0
"""How long what is left of a body that was refused is read, before the connection is closed."""

_MOST_LINE, _MOST_FIELD, _MOST_HEADERS = 64 * 1024, 32 * 1024, 64
"""What is read of a request at all: more than is answered, so that what is too long is told as JSON."""


def create_app(
    answers: Answers, settings: DashboardSettings, feed: Feed, tokens: TokenFile | None
) -> web.Application:
    """The page, its files and the API. Its stream is live while `feed.run()` runs."""
    access = Access(settings, answers.clock, tokens)
    app = web.Application(middlewares=[errors_as_json, access.middleware()], client_max_size=MOST_BODY_BYTES)
    app.on_response_prepare.append(page.add_security_headers)
    app.router.add_get("/", page.index)
    app.router.add_routes(Login(access, settings.silent_s).routes())
    app.router.add_static("/static", page.STATIC)
    app.router.add_get("/plotly.min.js", page.Plotly().handle)
    app.router.add_routes(Api(answers).routes())
    app.router.add_get("/metrics", Prometheus(answers, settings).handle)
    turns = Turns(settings.streams, "open pages", "streams")
    stream = Stream(feed, answers.clock, settings, turns)
    app.router.add_get(f"{PREFIX}/stream", stream.handle)
    return app


class Dashboard:
    """Serves while its block lasts: `async with Dashboard(answers, settings) as dashboard`.

    Entering raises ConfigError when `settings.listen` is not HOST:PORT or open to strangers, or when
    tokens or certificate cannot be read, and UnavailableError when nothing can listen there.
    Pages are live while `run` runs, in the caller's task group.
    """

    def __init__(self, answers: Answers, settings: DashboardSettings) -> None:
        self._answers = answers
        self._settings = settings
        self._feed = Feed(answers, settings)
        self._stack = AsyncExitStack()
        self.url = ""
        """Where the page is, known once entered: "http://127.0.0.1:8420/"."""

    async def __aenter__(self) -> Self:
        host, port = split_listen(self._settings.listen)
        check_exposure(self._settings)
        async with AsyncExitStack() as stack:
            tls = ServerTls(self._settings).open() if self._settings.cert_file else None
            app = create_app(self._answers, self._settings, self._feed, _tokens(self._settings))
            runner = web.AppRunner(
                app,
                access_log=None,
                logger=_log(),
                lingering_time=_LINGER_S,
                keepalive_timeout=self._settings.silent_s,
                auto_decompress=False,  # no body that is answered is compressed
                shutdown_timeout=_SHUTDOWN_S,
                max_line_size=_MOST_LINE,
                max_field_size=_MOST_FIELD,
                max_headers=_MOST_HEADERS,
            )
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await _listen(BoundedSite(runner, host, port, self._settings.connections, tls), host, port)
            stack.callback(self._feed.close)
            self.url = _url("https" if tls else "http", host, runner.addresses[0][1])
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Poll the store for the open pages, until cancelled."""
        await self._feed.run()


def _log() -> logging.Logger:
    """Of the web server: without what is no HTTP at all, of which strangers can send as much as they like."""
    log = logging.getLogger(f"{__name__}.http")
    log.addFilter(_is_ours)
    return log


def _is_ours(record: logging.LogRecord) -> bool:
    cause = record.exc_info[1] if record.exc_info else None
    return not isinstance(cause, HttpProcessingError)


def _tokens(settings: DashboardSettings) -> TokenFile | None:
    if not settings.tokens_file:
        return None
    tokens = TokenFile(Path(settings.tokens_file))
    tokens.load()
    return tokens


async def _listen(site: BoundedSite, host: str, port: int) -> None:
    try:
        await site.start()
    except OSError as err:
        where = f"{host}:{port}"
        if err.errno == errno.EADDRINUSE:
            raise UnavailableError(
                f"{where} is in use by another program: stop it, or choose another with --listen HOST:PORT"
            ) from err
        raise UnavailableError(f"cannot listen on {where}: {os.strerror(err.errno or 0)}") from err


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
