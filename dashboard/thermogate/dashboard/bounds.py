"""What many clients may take of this process at once: it also stores what the nodes send."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLContext

from aiohttp import web

from thermogate.core.errors import UnavailableError

_HANDSHAKE_S = 5.0
"""For TLS to be agreed on: a few round trips to the other side of the world take one."""


class Turns:
    """At most `most` at a time: `with turns.one():` raises UnavailableError beyond that.

    `what` they are, for the message, and `setting` allows more.
    """

    def __init__(self, most: int, what: str, setting: str) -> None:
        self._most = most
        self._what = what
        self._setting = setting
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """One of them, while the block lasts."""
        if self._taken >= self._most:
            raise UnavailableError(
                f"{self._most} {self._what} at once are as many as there may be: try again later "
                f"(dashboard.{self._setting})"
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class BoundedSite(web.BaseSite):
    """Listens on an address, and closes a connection at once that is one more than `most`.

    A process that may open no more files could not reach its store or its broker any more.
    """

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, most: int, tls: SSLContext | None
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self._host = host
        self._port = port
        self._most = most

    @property
    def name(self) -> str:
        """Where it is told to listen."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises OSError where that cannot be."""
        await super().start()
        tls = self._ssl_context
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            self._host,
            self._port,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_S if tls else None,
            backlog=self._backlog,
        )

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        return _Refuse() if len(server.connections) >= self._most else server()


class _Refuse(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.abort()
