"""`thermogate collector quarantine` and `requeue`: what was refused, shown, and tried again."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from thermogate.cli import render, rundir, service, settings
from thermogate.collector import quarantine, requeue
from thermogate.collector.quarantine import AGAIN, Entry
from thermogate.core.clock import NS
from thermogate.core.errors import UnavailableError
from thermogate.dashboard.times import parse_duration

_LOOK_S = 0.2


class Shown(msgspec.Struct, frozen=True):
    """One refused message, as `--json` gives it. `again`: it waits to be tried again."""

    time_ns: int
    topic: str
    reason: str
    size_bytes: int
    again: bool
    file: str


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register both."""
    parser = commands.add_parser("quarantine", help="show the messages that were refused, with their reasons")
    _add_place(parser)
    parser.add_argument("--node", help="of this node only")
    parser.add_argument("--reason", metavar="TEXT", help="whose reason contains this")
    parser.add_argument("--limit", type=int, default=100, help="the newest so many (default 100)")
    parser.add_argument("--json", action="store_true", help="for programs: a JSON list")
    parser.set_defaults(run=_quarantine)
    parser = commands.add_parser(
        "requeue",
        help="try the refused messages again, after an upgrade or with a mended store",
        description="Everything in quarantine is checked and stored again by the collector that runs with"
        " this data folder, or by the next one. What is refused again stays, with the new reason.",
    )
    _add_place(parser)
    parser.add_argument("--wait", metavar="TIME", default="60s", help="for what became of it (default 60s)")
    parser.set_defaults(run=_requeue)


def _add_place(parser: argparse.ArgumentParser) -> None:
    # no defaults: they would replace what was given before the word `quarantine`
    given: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML", **given)
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="of the collector; of the service /var/lib/private/thermogate-collector",
        **given,
    )


def _quarantine(args: argparse.Namespace) -> int:
    """Show them, the newest last."""
    folder = _folder(args) / "quarantine"
    try:
        found = [one for one in _all(folder) if _matches(one, args.node, args.reason)]
    except OSError as err:
        raise _unreadable(folder, err) from err
    shown = found[-args.limit :] if args.limit > 0 else []
    if args.json:
        render.show(render.json_text(shown))
        return 0
    rows = [(render.local_time(one.time_ns), one.topic, str(one.size_bytes), one.reason) for one in shown]
    if rows:
        render.show(render.table(("TIME", "TOPIC", "BYTES", "REASON"), rows))
    again = sum(one.again for one in found)
    tried = f", of which {again} wait to be tried again" if again else ""
    render.show(f"{len(found)} messages in {folder}{tried}")
    return 0


def _folder(args: argparse.Namespace) -> Path:
    folder = settings.data_dir(settings.load(args))
    try:
        there = folder.is_dir()
    except OSError as err:
        raise _unreadable(folder / "quarantine", err) from err
    if not there:
        raise UnavailableError(f"{folder} is not there: name the collector's data folder with --data-dir")
    return folder


def _all(folder: Path) -> Iterator[Shown]:
    files = sorted((*quarantine.files(folder), *quarantine.files(folder / AGAIN)), key=lambda file: file.name)
    for file in files:
        try:
            for entry in quarantine.entries(file):
                yield _shown(entry, file)
        except FileNotFoundError:
            continue  # it went while the others were read


def _shown(entry: Entry, file: Path) -> Shown:
    try:
        size = len(entry.payload_bytes())
    except ValueError:
        size = 0
    return Shown(entry.time_ns, entry.topic, entry.reason, size, file.parent.name == AGAIN, file.name)


def _matches(one: Shown, node: str | None, reason: str | None) -> bool:
    of_node = node is None or f"/{node}/" in one.topic or one.topic.endswith(f"/{node}")
    return of_node and (reason is None or reason in one.reason)


def _requeue(args: argparse.Namespace) -> int:
    """Move the files, and wait for what a running collector makes of them."""
    data_dir = _folder(args)
    folder = data_dir / "quarantine"
    wait_s = parse_duration(args.wait) / NS
    began_ns = time.time_ns()
    try:
        asked = requeue.ask(folder)
    except OSError as err:
        raise _unreadable(folder, err) from err
    waiting = quarantine.files(folder / AGAIN)
    if not waiting and not asked.files:
        service.say(f"nothing is in quarantine in {folder}")
        return 0
    service.say(f"{asked.messages} messages in {len(asked.files)} files are tried again")
    if rundir.running(data_dir) is None:
        service.say(f"no collector runs with {data_dir}: the next one does it")
        return 0
    until_s = time.monotonic() + wait_s
    while quarantine.files(folder / AGAIN):
        if time.monotonic() > until_s:
            raise UnavailableError(
                f"not done after {wait_s:.0f} s: the collector's log says what it waits for"
            )
        time.sleep(_LOOK_S)
    _tell(folder, asked, began_ns)
    return 0


def _tell(folder: Path, asked: requeue.Asked, began_ns: int) -> None:
    reasons: dict[str, int] = {}
    for name in {file.name for file in asked.files}:
        if (folder / name).exists():
            for entry in quarantine.entries(folder / name):
                if entry.time_ns < began_ns:  # what was refused since may be in the same file
                    reasons[entry.reason] = reasons.get(entry.reason, 0) + 1
    refused = sum(reasons.values())
    service.say(f"{asked.messages - refused} are stored, {refused} were refused again")
    if reasons:
        most = sorted(reasons.items(), key=lambda item: -item[1])[:10]
        render.show(render.table(("COUNT", "REASON"), [(str(count), reason) for reason, count in most]))


def _unreadable(folder: Path, err: OSError) -> UnavailableError:
    return UnavailableError(f"quarantine {folder}: {err.strerror}: it is for the collector's user, and root")
