"""A running thermogate, asked over HTTP or HTTPS."""

import asyncio
import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec

from thermogate.cli import render
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.core.model import Event, Status
from thermogate.core.query import Device, Ranked, Series
from thermogate.dashboard import hosts
from thermogate.dashboard.answers import FleetRow, Info
from thermogate.dashboard.explain import Explanation
from thermogate.dashboard.jobs import JobAnswer
from thermogate.dashboard.times import format_time

_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 16
_CURES = {
    401: "give a token with --token-file FILE or in THERMOGATE_TOKEN",
    403: "ask for a token of that scope",
}

_TIMES = {"start_ns": "from", "end_ns": "to", "at_ns": "at"}

T = TypeVar("T")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to wherever it points."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


class Remote:
    """The same answers as `Answers`, asked over HTTP. Raises UnavailableError with the cause.

    `ca_file` has the authorities to trust with https; without it those of the system.
    """

    def __init__(self, url: str, token: str | None = None, ca_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._ca_file = ca_file
        self._opener: urllib.request.OpenerDirector | None = None

    async def info(self) -> Info:
        """What runs there."""
        return await self._get("info", {}, Info)

    async def fleet(self) -> list[FleetRow]:
        """Every device now."""
        return await self._get("fleet", {}, list[FleetRow])

    async def nodes(self) -> list[Status]:
        """Every node's status."""
        return await self._get("nodes", {}, list[Status])

    async def series(self, device: Device, fields: tuple[str, ...], **options: Any) -> list[Series]:
        """Fields of a device over time."""
        options |= {
            "node": device.node,
            "device": f"{device.kind}{device.device}",
            "fields": ",".join(fields),
        }
        return await self._get("series", options, list[Series])

    async def top(self, kind: str, field: str, **options: Any) -> list[Ranked]:
        """Devices ranked by a field."""
        return await self._get("top", {"kind": kind, "field": field, **options}, list[Ranked])

    async def ranking(self, kind: str, ranking: str, **options: Any) -> list[Ranked]:
        """Devices in a ranking that has a name."""
        return await self._get("top", {"kind": kind, "ranking": ranking, **options}, list[Ranked])

    async def events(self, **options: Any) -> list[Event]:
        """What began and ended, newest first."""
        return await self._get("events", options, list[Event])

    async def jobs(self, **options: Any) -> JobAnswer:
        """What jobs did, the one that began last first."""
        return await self._get("jobs", options, JobAnswer)

    async def gates(self) -> list[GateDecision]:
        """The newest decision of each target."""
        return await self._get("gates", {}, list[GateDecision])

    async def decisions(self, **options: Any) -> list[GateDecision]:
        """Every decision, newest first."""
        return await self._get("decisions", options, list[GateDecision])

    async def explain(self, target: str, **options: Any) -> Explanation:
        """Why a target is held or is not."""
        return await self._get("explain", {"target": target, **options}, Explanation)

    async def export(self, **options: Any) -> AsyncIterator[str]:
        """CSV in chunks of text."""
        response = await asyncio.to_thread(self._open, "export", options)
        with response:
            while chunk := await asyncio.to_thread(self._chunk, response):
                yield chunk.decode()

    async def _get(self, path: str, options: dict[str, Any], of: type[T]) -> T:
        body = await asyncio.to_thread(self._read, path, options)
        try:
            return msgspec.json.decode(body, type=of)
        except (msgspec.MsgspecError, UnicodeDecodeError) as err:
            raise UnavailableError(
                f"{self.url}: what it answers to {path} is not as expected: {render.plain(str(err))}; "
                "is it a thermogate of the same version?"
            ) from err

    def _read(self, path: str, options: dict[str, Any]) -> bytes:
        with self._open(path, options) as response:
            return self._chunk(response, None)

    def _chunk(self, response: http.client.HTTPResponse, most: int | None = _CHUNK_BYTES) -> bytes:
        """The next bytes, b"" at the end; without `most` all of them."""
        try:
            return response.read(most)
        except (http.client.HTTPException, OSError) as err:
            cause = render.plain(str(err)) or type(err).__name__
            raise UnavailableError(f"{self.url}: its answer broke off: {cause}") from err

    def _open(self, path: str, options: dict[str, Any]) -> Any:
        given = dict(_parameter(name, value) for name, value in options.items() if value is not None)
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(given)}"
        if not url.startswith(("http://", "https://")):
            raise UnavailableError(f"--url {self.url}: expected http://HOST:PORT or https://HOST:PORT")
        try:
            request = urllib.request.Request(url)  # noqa: S310 - http and https only, above
            if self._token:
                request.add_unredirected_header("Authorization", f"Bearer {self._token}")
            return self._direct().open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as err:
            cure = _CURES.get(err.code)
            raise UnavailableError(f"{self.url}: {_error_text(err)}{f'; {cure}' if cure else ''}") from err
        except (OSError, http.client.HTTPException) as err:
            raise self._unreached(getattr(err, "reason", err)) from err
        except ValueError as err:
            raise UnavailableError(f"--url {self.url}: {err}: expected http://HOST:PORT") from err

    def _direct(self) -> urllib.request.OpenerDirector:
        if self._opener is None:
            context = _trusting(self._ca_file)
            handlers: list[Any] = [_NoRedirect, urllib.request.HTTPSHandler(context=context)]
            if hosts.is_loopback(urllib.parse.urlsplit(self.url).hostname or ""):
                handlers.append(urllib.request.ProxyHandler({}))  # a proxy's loopback is another machine's
            self._opener = urllib.request.build_opener(*handlers)
        return self._opener

    def _unreached(self, cause: object) -> UnavailableError:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UnavailableError(
                f"{self.url}: its certificate is not trusted: {cause.verify_message}; "
                "--ca-file names the authority that signed it"
            )
        if isinstance(cause, ssl.SSLError | http.client.HTTPException):
            return UnavailableError(
                f"{self.url}: {cause}; is it http where it should be https, or the reverse?"
            )
        return UnavailableError(
            f"no thermogate at {self.url} ({cause}); start one with `thermogate up`, "
            "name another with --url, or read a data folder with --data-dir"
        )


def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(f"--ca-file {ca_file}: holds no certificates that can be read: {err}") from err


def _parameter(name: str, value: Any) -> tuple[str, str]:
    """The name and text that the HTTP API has for an argument of `Answers`."""
    if name in _TIMES:
        return _TIMES[name], format_time(value)
    if name in ("step_ns", "span_ns"):
        return name.removesuffix("_ns"), f"{value / NS:.9f}"
    return name, str(value).lower() if isinstance(value, bool) else str(value)


def _error_text(err: urllib.error.HTTPError) -> str:
    try:
        return render.plain(str(json.loads(err.read(_CHUNK_BYTES))["error"]))
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        return render.plain(f"HTTP {err.code} {err.reason}")
