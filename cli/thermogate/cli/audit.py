"""`thermogate audit`: the log of every decision: checked to the byte, made again from its inputs, shown."""

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

from thermogate.analytics.audit import Reader, Record
from thermogate.analytics.inputs import recompute
from thermogate.cli import asking, audit_replay, audit_store, render, settings
from thermogate.core.errors import ConfigError, WireError
from thermogate.core.keyring import TRUSTED
from thermogate.core.signing import TrustedKeys
from thermogate.core.wire import is_name

_MOST_SHOWN = 20
"""Findings that are told one by one."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("audit", help="check the log of every decision; make decisions again")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="find whatever was changed in the log")
    verify.add_argument(
        "--expect", metavar="N:HASH", help="a record noted elsewhere, which must still be there"
    )
    verify.add_argument(
        "--with-store", action="store_true", help="compare with the decisions that are stored"
    )
    verify.add_argument("--url", default=None, help="(with --with-store) a running thermogate")
    verify.add_argument(
        "--token-file", metavar="FILE", help="(with --with-store) whose first line is the token"
    )
    verify.add_argument(
        "--ca-file", metavar="FILE", help="(with --with-store) authorities to trust with https"
    )
    verify.set_defaults(run=_verify)
    replay = actions.add_parser(
        "replay", help="make every decision again from its inputs, and name those that differ"
    )
    replay.add_argument(
        "--what-if", action="store_true", help="by the settings of --config; --set implies it"
    )
    replay.set_defaults(run=_replay)
    show = actions.add_parser("show", help="show records")
    show.add_argument("--inputs", action="store_true", help="with what the decisions were made of")
    show.set_defaults(run=_show)
    for action in (verify, replay, show):
        settings.add_arguments(action, runs=False)
        action.add_argument("--folder", type=Path, help="the log (default: audit in the data folder)")
        action.add_argument("--trusted", type=Path, metavar="FILE", help="the keys whose log it may be")
        action.add_argument("--json", action="store_true", help="JSON for programs")
        asking.add_range(action, start=None)
    for action in (replay, show):
        action.add_argument("--target", help="of this target only")


def _verify(args: argparse.Namespace) -> int:
    reader = _reader(args)
    expected = _expectation(args.expect)
    stored = audit_store.Comparison(*asking.time_range(args)) if args.with_store else None
    problems = []
    for record in reader.records():
        if expected is not None and record.n == expected[0]:
            problems += (
                [] if record.hash.startswith(expected[1]) else [f"record {record.n} is not the one expected"]
            )
            expected = None
        if stored is not None:
            stored.add(record)
    if expected is not None:
        problems.append(f"record {expected[0]}, which was expected, is not in the log (any more)")
    found = [finding.text for finding in reader.findings] + problems
    if stored is not None:
        found += asyncio.run(_compare(stored, args))
    return _tell(args, reader, found)


async def _compare(stored: audit_store.Comparison, args: argparse.Namespace) -> list[str]:
    where = argparse.Namespace(
        url=args.url,
        data_dir=None if args.url else _data_dir(args),
        token=None,
        token_file=args.token_file,
        ca_file=args.ca_file,
    )
    async with asking.answers(where) as answers:
        return await stored.compare(answers)


def _tell(args: argparse.Namespace, reader: Reader, found: list[str]) -> int:
    if args.json:
        head = {"first_n": reader.first_n, "n": reader.n, "hash": reader.hash}
        render.show(render.json_text({**head, "findings": found, "notes": reader.notes}))
        return 1 if found else 0
    for n, text in reader.notes:
        render.show(f"record {n}: {text}")
    for text in found[:_MOST_SHOWN]:
        render.show(f"FOUND: {text}")
    if len(found) > _MOST_SHOWN:
        render.show(f"and {len(found) - _MOST_SHOWN} more")
    count = reader.n - reader.first_n + 1
    if found:
        render.show(f"{len(found)} found in {count} records: this is not the log that was written")
        return 1
    render.show(f"{count} records, {reader.first_n} to {reader.n}: nothing was changed")
    render.show(f"to be surer next time, note elsewhere: --expect {reader.n}:{reader.hash}")
    return 0


def _replay(args: argparse.Namespace) -> int:
    reader = _reader(args)
    decisions = _decisions(args, reader.records())
    what_if = settings.load(args).analytics if args.sets or args.what_if else None
    status = audit_replay.run(decisions, what_if, recompute, json=args.json)
    return max(status, _warn(reader))


def _show(args: argparse.Namespace) -> int:
    reader = _reader(args)
    for record in _in_range(args, reader.records()):
        render.show(_json(record, args) if args.json or args.inputs else _line(record))
    return _warn(reader)


def _warn(reader: Reader) -> int:
    if reader.findings:
        render.note(f"this log was changed: `thermogate audit verify` finds {len(reader.findings)} places")
        return 1
    return 0


def _line(record: Record) -> str:
    time_ = render.local_time(record.time_ns)
    if not record.decision:
        return f"{record.n}  {time_}  {'ALARM: ' + record.alarm if record.alarm else record.note}"
    try:
        said = record.gate_decision
    except WireError as err:
        return f"{record.n}  {time_}  {err}"
    about = f"{said.kind}/{said.target} {said.state} at {said.pace:.0%} ({said.mode}, {said.policy})"
    return f"{record.n}  {time_}  {about}: {said.why}"


def _json(record: Record, args: argparse.Namespace) -> str:
    shown = {"n": record.n, "time_ns": record.time_ns, "hash": record.hash}
    if not record.decision:
        return render.json_text({**shown, "note": record.note, "alarm": record.alarm})
    with_inputs = {"inputs": audit_replay.raw(record.unpacked())} if args.inputs else {}
    return render.json_text({**shown, "decision": audit_replay.raw(record.decision.encode()), **with_inputs})


def _decisions(args: argparse.Namespace, records: Iterable[Record]) -> Iterator[Record]:
    return (record for record in _in_range(args, records) if record.decision)


def _in_range(args: argparse.Namespace, records: Iterable[Record]) -> Iterator[Record]:
    start_ns, end_ns = asking.time_range(args)
    for record in records:
        if start_ns <= record.time_ns < end_ns and _is_about(record, args.target):
            yield record


def _is_about(record: Record, target: str | None) -> bool:
    if target is None:
        return True
    try:
        return bool(record.decision) and record.gate_decision.target == target
    except WireError:
        return False


def _expectation(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    n, _, digest = text.partition(":")
    if not (n.isdecimal() and len(digest) >= 16 and is_name(digest)):
        raise ConfigError(f"--expect {text[:100]}: expected N:HASH, as `audit verify` tells it")
    return int(n), digest


def _reader(args: argparse.Namespace) -> Reader:
    folder = args.folder or _data_dir(args) / "audit"
    return Reader(folder, TrustedKeys.load(args.trusted or _trusted(args)))


def _trusted(args: argparse.Namespace) -> Path:
    given = settings.load(args).analytics.trusted_file
    return Path(given) if given else _data_dir(args) / "keys" / TRUSTED


def _data_dir(args: argparse.Namespace) -> Path:
    return settings.data_dir(settings.load(args))
