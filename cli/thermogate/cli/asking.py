"""Where the answers come from: a running thermogate over HTTP, or a data folder when nothing runs."""

import argparse
import asyncio
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from thermogate.cli import render, rundir
from thermogate.core.clock import NS
from thermogate.core.decision import GateDecision
from thermogate.core.errors import UnavailableError
from thermogate.core.model import Event, Status
from thermogate.core.query import Device, Ranked, Series
from thermogate.dashboard.answers import Answers, FleetRow, Info
from thermogate.dashboard.jobs import JobAnswer
from thermogate.dashboard.times import END_OF_TIME_NS, format_time, parse_time

DEFAULT_URL = "http://127.0.0.1:8420"
_TIMEOUT_S = 30.0
_TIME_HELP = "such as -15m, 2026-11-21T08:00:00Z or Unix seconds"

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--url` and `--data-dir`, for every command that asks."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default=None, help=f"a running thermogate (default {DEFAULT_URL})")
    where.add_argument("--data-dir", type=Path, help="a data folder, to read when nothing runs on it")


class Remote:
    """The same answers as `Answers`, asked over HTTP. Raises UnavailableError with the cause."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

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

    async def export(self, **options: Any) -> AsyncIterator[str]:
        """CSV in chunks of text."""
        response = await asyncio.to_thread(self._open, "export", options)
        with response:
            while chunk := await asyncio.to_thread(response.read, 1 << 16):
                yield chunk.decode()

    async def _get(self, path: str, options: dict[str, Any], of: type[T]) -> T:
        body = await asyncio.to_thread(self._read, path, options)
        try:
            return msgspec.json.decode(body, type=of)
        except (msgspec.MsgspecError, UnicodeDecodeError) as err:
            raise UnavailableError(
                f"{self._url}: what it answers to {path} is not as expected: {render.plain(str(err))}; "
                "is it a thermogate of the same version?"
            ) from err

    def _read(self, path: str, options: dict[str, Any]) -> bytes:
        with self._open(path, options) as response:
            return bytes(response.read())

    def _open(self, path: str, options: dict[str, Any]) -> Any:
        given = dict(_parameter(name, value) for name, value in options.items() if value is not None)
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(given)}"
        if not url.startswith(("http://", "https://")):
            raise UnavailableError(f"--url {self._url}: expected http://HOST:PORT")
        try:
            return urllib.request.urlopen(url, timeout=_TIMEOUT_S)  # noqa: S310 - http and https only, above
        except urllib.error.HTTPError as err:
            raise UnavailableError(f"{self._url}: {_error_text(err)}") from err
        except OSError as err:
            cause = getattr(err, "reason", err)
            raise UnavailableError(
                f"no thermogate at {self._url} ({cause}); start one with `thermogate up`, "
                "name another with --url, or read a data folder with --data-dir"
            ) from err


Asked = Answers | Remote


@asynccontextmanager
async def answers(args: argparse.Namespace) -> AsyncIterator[Asked]:
    """What the arguments point at. A data folder that is in use is asked through its process."""
    if args.data_dir is None:
        yield Remote(_running_url(args.url))
        return
    running = rundir.running(args.data_dir)
    if running is not None:
        yield Remote(running.url)
        return
    from thermogate.cli import stored  # needs the store's package, which a node that only asks lacks

    async with stored.answers(args.data_dir) as opened:
        yield opened


async def broker_url() -> str:
    """The broker of the thermogate that runs on this machine. Raises UnavailableError."""
    return (await Remote(_running_url(None)).info()).broker_url


def add_range(parser: argparse.ArgumentParser, *, start: str | None) -> None:
    """`--from` and `--to`; without a default start the range is everything."""
    parser.add_argument("--from", dest="start", default=start, metavar="T", help=_TIME_HELP)
    parser.add_argument("--to", dest="end", default=None, metavar="T")


def time_range(args: argparse.Namespace) -> tuple[int, int]:
    """[start_ns, end_ns) of `--from` and `--to`. Raises ConfigError."""
    now_ns = time.time_ns()
    start_ns = 0 if args.start is None else parse_time(args.start, now_ns)
    if args.end is not None:
        return start_ns, parse_time(args.end, now_ns)
    return start_ns, END_OF_TIME_NS if args.start is None else now_ns


def _running_url(url: str | None) -> str:
    """The URL that was given, else that of the `up` on the default data folder, else the default."""
    if url:
        return url
    running = rundir.running(rundir.default_data_dir())
    return running.url if running else DEFAULT_URL


def _parameter(name: str, value: Any) -> tuple[str, str]:
    """The name and text that the HTTP API has for an argument of `Answers`."""
    if name in ("start_ns", "end_ns"):
        return {"start_ns": "from", "end_ns": "to"}[name], format_time(value)
    if name == "step_ns":
        return "step", f"{value / NS:.9f}"
    return name, str(value).lower() if isinstance(value, bool) else str(value)


def _error_text(err: urllib.error.HTTPError) -> str:
    try:
        return render.plain(str(json.loads(err.read())["error"]))
    except (ValueError, KeyError, TypeError):
        return render.plain(f"HTTP {err.code} {err.reason}")
