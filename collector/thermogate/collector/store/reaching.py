"""The way to a store's server over HTTP, and what a person is told of a URL that leads to nobody."""

import base64
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp

from thermogate.collector.config import InfluxSettings, VictoriaSettings
from thermogate.core.config import first_line
from thermogate.core.errors import ConfigError, StoreError


class StoreHttp:
    """One keep-alive session: `async with`. What does not answer raises StoreError with the cause.

    `section` names the settings to a person; `scheme` is the word before a token, `headers` go with every
    request. Entering raises ConfigError for a URL, an authority or a secret that will not do.
    """

    def __init__(
        self,
        section: str,
        settings: InfluxSettings | VictoriaSettings,
        scheme: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._section = section
        self._of = settings
        self._scheme = scheme
        self._headers = dict(headers or {})
        self._url = settings.url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        check_url(f"{self._section}.url", self._of.url)
        timeout_s = self._of.timeout_s
        self._session = aiohttp.ClientSession(
            headers={**self._credentials(), **self._headers},
            connector=aiohttp.TCPConnector(ssl=self._tls()),
            # not `total`: an export may take long, as long as something comes
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _asked(self, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response of a request, whatever its status."""
        if self._session is None:
            raise StoreError(f"{self._url} is not open")
        try:
            async with self._session.request(method, self._url + path, **more) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as err:
            raise unreachable(self._url, err) from err

    def _credentials(self) -> dict[str, str]:
        if self._of.token_file:
            token = first_line(self._of.token_file, f"{self._section}.token_file")
            return {"Authorization": f"{self._scheme} {token}"}
        if self._of.username:
            password = first_line(self._of.password_file, f"{self._section}.password_file")
            pair = base64.b64encode(f"{self._of.username}:{password}".encode())
            return {"Authorization": f"Basic {pair.decode()}"}
        return {}

    def _tls(self) -> ssl.SSLContext | bool:
        if not self._of.ca_file:
            return True
        try:
            return ssl.create_default_context(cafile=self._of.ca_file)
        except (OSError, ssl.SSLError) as err:
            raise ConfigError(f"{self._section}.ca_file {self._of.ca_file}: {err}") from err


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; aiohttp's own iterator refuses those beyond its buffer."""
    parts: list[bytes] = []
    async for piece in content.iter_any():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield b"".join((*parts, end))
            parts.clear()
        parts.append(rest)
    yield b"".join(parts)


def check_url(setting: str, url: str) -> None:
    """Raises ConfigError for what is no address of a server."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        sound = False
    if not sound or parts.query or parts.fragment:
        raise ConfigError(f"{setting} {url!r}: expected http://HOST:PORT or https://HOST:PORT")


def unreachable(url: str, err: Exception) -> StoreError:
    """The error of a request that had no answer, with the system's own word for the cause."""
    return StoreError(f"{url} does not answer: {_cause(err)}")


def _cause(err: Exception) -> str:
    match err:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {err.certificate_error}"
        case aiohttp.ClientConnectorError() if isinstance(err.os_error, ssl.SSLError):
            return f"no TLS with it, does it want http://? ({err.os_error.strerror})"
        case aiohttp.ClientConnectorError() if err.os_error.errno and err.os_error.errno > 0:
            return os.strerror(err.os_error.errno)
        case aiohttp.ClientConnectorError():  # of the name, which has numbers of its own
            return err.os_error.strerror or str(err.os_error)
        case TimeoutError():
            return str(err) or "no answer in time"
        case _:
            return str(err) or type(err).__name__
