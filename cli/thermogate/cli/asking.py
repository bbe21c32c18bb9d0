"""Where the answers come from: a running thermogate over HTTP, or a data folder when nothing runs."""

import argparse
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from thermogate.cli import rundir
from thermogate.cli.remote import Remote
from thermogate.core.config import first_line
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.times import END_OF_TIME_NS, parse_time

__all__ = ["Asked", "Remote", "add_arguments", "add_range", "answers", "broker_url", "time_range"]

TOKEN_VARIABLE = "THERMOGATE_TOKEN"  # noqa: S105 - a name
DEFAULT_URL = "http://127.0.0.1:8420"
_TIME_HELP = "such as -15m, 2026-11-21T08:00:00Z or Unix seconds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to ask, and as whom, for every command that asks."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default=None, help=f"a running thermogate (default {DEFAULT_URL})")
    where.add_argument("--data-dir", type=Path, help="a data folder, to read when nothing runs on it")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--token-file", metavar="FILE", help="a file whose first line is the token to ask with")
    who.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"the token itself, which others on this machine can see; better: ${TOKEN_VARIABLE}",
    )
    parser.add_argument("--ca-file", metavar="FILE", help="authorities to trust with https")


Asked = Answers | Remote


@asynccontextmanager
async def answers(args: argparse.Namespace) -> AsyncIterator[Asked]:
    """What the arguments point at. A data folder that is in use is asked through its process."""
    if args.data_dir is None:
        yield _remote(args, _running_url(args.url))
        return
    running = rundir.running(args.data_dir)
    if running is not None:
        yield _remote(args, running.url)
        return
    from thermogate.cli import stored  # needs the store's package, which a node that only asks lacks

    async with stored.answers(args.data_dir) as opened:
        yield opened


async def broker_url() -> str:
    """The broker of the thermogate that runs on this machine. Raises UnavailableError."""
    running = Remote(_running_url(None), os.environ.get(TOKEN_VARIABLE))
    url = (await running.info()).broker_url
    if not url:
        raise UnavailableError("its broker is told to tokens of scope admin only: name it with --broker")
    return url


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


def _remote(args: argparse.Namespace, url: str) -> Remote:
    token = args.token or os.environ.get(TOKEN_VARIABLE)
    if args.token_file:
        token = first_line(args.token_file, "--token-file")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError("the token has characters that no token has")  # and is not repeated
    return Remote(url, token, args.ca_file)


def _running_url(url: str | None) -> str:
    """The URL that was given, else that of the `up` on the default data folder, else the default."""
    if url:
        return url
    running = rundir.running(rundir.default_data_dir())
    return running.url if running else DEFAULT_URL
