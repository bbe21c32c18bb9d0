"""Metrics out over OTLP/HTTP: the present of the fleet, pushed once an interval."""

import asyncio
import logging
import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from thermogate.core import __version__
from thermogate.core.errors import ConfigError, StoreError
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.otlp_metrics import rejected, requests
from thermogate.dashboard.otlp_settings import OtlpSettings

log = logging.getLogger(__name__)

_MOST_ANSWER_BYTES = 64 * 1024
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "gzip",
    "User-Agent": f"thermogate/{__version__}",
}


class Otlp:
    """Pushes while `run` runs: `async with Otlp(answers, settings) as otlp`.

    Nothing waits for it and nothing is kept for a receiver that is down: it has the next values at the
    next interval, and the store has them all. Entering raises ConfigError for a setting that is wrong.
    """

    def __init__(self, answers: Answers, settings: OtlpSettings) -> None:
        self._answers = answers
        self._settings = settings
        self._problem = ""

    async def __aenter__(self) -> Self:
        settings = self._settings
        if not settings.endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"otlp.endpoint: {settings.endpoint!r} is no http:// or https:// URL")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=_trust(settings.ca_file)),
            headers={**_HEADERS, **_headers(settings.headers_file)},
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def run(self) -> None:
        """Push once an interval, for ever. A change between success and failure is logged, once."""
        clock = self._answers.clock
        while True:
            due_s = clock.steady_s() + self._settings.interval_s
            self._tell(await self._push())
            await clock.sleep_until(due_s)

    async def _push(self) -> str:
        """Why not everything was taken, or ""."""
        try:
            async with asyncio.timeout(self._answers.settings.store_timeout_s):
                present = await self._answers.present()
        except (StoreError, TimeoutError) as err:
            return f"the store does not answer: {err or 'no answer in time'}"
        pieces = requests(present)
        said = ""
        while piece := await asyncio.to_thread(next, pieces, b""):
            try:
                said = await self._post(piece) or said
            except (aiohttp.ClientError, TimeoutError, OSError) as err:
                return f"{type(err).__name__}: {err}" if str(err) else type(err).__name__
        return said

    async def _post(self, body: bytes) -> str:
        """What the receiver says against it, or "". Raises when it is not to be had or refuses."""
        # redirects would carry the headers, which may hold a token, to another place
        async with self._session.post(self._settings.endpoint, data=body, allow_redirects=False) as response:
            answer = await response.content.read(_MOST_ANSWER_BYTES)
            if not 200 <= response.status < 300:
                raise aiohttp.ClientError(f"status {response.status}")
            return rejected(answer)

    def _tell(self, problem: str) -> None:
        if problem and not self._problem:
            every_s = self._settings.interval_s
            log.warning("OTLP to %s: %s; again every %g s", self._settings.endpoint, problem, every_s)
        elif self._problem and not problem:
            log.warning("OTLP to %s works again", self._settings.endpoint)
        self._problem = problem


def _trust(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(f"otlp.ca_file {ca_file}: cannot read certificates: {err}") from err


def _headers(file: str) -> dict[str, str]:
    if not file:
        return {}
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"otlp.headers_file {file}: cannot read it: {err}") from err
    pairs = [line.partition(":") for line in lines if line.strip() and not line.startswith("#")]
    for name, colon, value in pairs:
        sound = name.isascii() and name.strip().replace("-", "").isalnum() and value.strip().isprintable()
        if not colon or not sound:
            raise ConfigError(f"otlp.headers_file {file}: expected lines NAME: VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}
