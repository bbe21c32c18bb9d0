"""`thermogate replay`: RLE and collapse of a recorded session, a row a sample."""

import argparse
import csv
import sys
from pathlib import Path
from typing import NamedTuple, TextIO

import msgspec

from thermogate.agent import recording
from thermogate.agent.recording import Complaint, Device, Kind, Recorded, Recording, Row
from thermogate.core import profiles
from thermogate.core.clock import NS
from thermogate.core.errors import ConfigError, UnavailableError
from thermogate.core.profiles import PUBLISHED_LIMITS, Params, Result, Sample

COLUMNS = ("rle_raw", "rle_smoothed", "e_th", "e_pw", "a_load", "t_sustain_s", "rolling_peak", "collapse")
CHAIN_GAP_S = 10.0
"""As long as the stability window of `monitor`: what was before says nothing of now. In the
recordings at hand samples are at most 1.2 s apart, and restarts of their program at least 39 s."""
SHOWN_COMPLAINTS_COUNT = 10
"""Of a file that is wrong in every row the first few say what is wrong; all are counted."""


class Played(NamedTuple):
    """One row and its RLE; `chain` counts the starts from a fresh state, from 1."""

    row: Row
    result: Result
    chain: int


class Summary(msgspec.Struct, frozen=True):
    """What was played, as `--json` prints it."""

    file: str
    device: str
    profile: str
    rated_power_w: float | None
    temp_limit_c: float
    assumed: tuple[str, ...]
    rows_count: int
    chains_count: int
    collapse_rows_count: int
    skipped_rows_count: int


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("replay", help="compute RLE of a recorded session, row by row")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="CSV with timestamp (or t_s), device, util_pct, temp_c, power_w",
    )
    parser.add_argument(
        "--profile", choices=profiles.PROFILES, help="default: as beside the recording, else monitor"
    )
    parser.add_argument("--device", help="gpu, cpu, gpu1 ... (default: the only one of the recording)")
    parser.add_argument("--rated-power-w", type=float, metavar="W", help="rated power of the device")
    parser.add_argument("--temp-limit-c", type=float, metavar="C", help="temperature limit of the device")
    parser.add_argument(
        "--chain-gap-s",
        type=float,
        default=CHAIN_GAP_S,
        metavar="S",
        help="a longer gap starts afresh (default: %(default)g)",
    )
    parser.add_argument("--out", default="-", metavar="OUT.csv", help="default: -, standard output")
    parser.add_argument("--json", action="store_true", help="print what was played as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write a row a sample. 0, or 1 when no row could be played; raises ConfigError on bad input."""
    if args.json and args.out == "-":
        raise ConfigError("--json prints on standard output: name a file with --out")
    if args.out != "-" and Path(args.out).resolve() == args.file.resolve():
        raise ConfigError(f"--out {args.out}: that is the recording itself")
    if not args.chain_gap_s > 0:
        raise ConfigError(f"--chain-gap-s {args.chain_gap_s:g}: expected more than 0")
    recorded = recording.read(args.file)
    device = _device(recorded, args.device)
    params, assumed = _params(args, device[0])
    played, refused = play(params, recorded.of(device), args.chain_gap_s)
    complaints = sorted((*recorded.complaints, *refused))
    _complain(args.file, complaints)
    if not played:
        _say(f"{args.file}: no row of {_tag(device)} could be played; it has {_tags(recorded)}")
        return 1
    _write(args.out, played)
    summary = _summary(args.file, device, params, assumed, played, len(complaints))
    if args.json:
        print(msgspec.json.encode(summary).decode())
    else:
        _say(_sentence(summary))
    return 0


def play(params: Params, rows: tuple[Row, ...], chain_gap_s: float) -> tuple[list[Played], list[Complaint]]:
    """RLE of the rows of one device, and the rows that have none."""
    played: list[Played] = []
    refused: list[Complaint] = []
    state, chain, before_ns = profiles.initial(params), 0, None
    for row in rows:
        begins = before_ns is None or row.time_ns - before_ns > chain_gap_s * NS
        before = profiles.initial(params) if begins else state
        try:
            state, result = profiles.step(params, before, _sample(row, rows[0].time_ns))
        except ValueError as err:
            refused.append(Complaint(row.line, str(err)))
            continue
        chain, before_ns = chain + begins, row.time_ns
        played.append(Played(row, result, chain))
    return played, refused


def _sample(row: Row, start_ns: int) -> Sample:
    if row.util_pct is None:
        raise ValueError("util_pct was not measured")
    return Sample(row.util_pct / 100.0, row.temp_c, row.power_w, (row.time_ns - start_ns) / NS)


def _device(recorded: Recording, tag: str | None) -> Device:
    known = recorded.devices()
    if tag is None:
        if len(known) != 1:
            raise ConfigError(f"{recorded.path}: it has {_tags(recorded)}: choose with --device")
        return known[0]
    try:
        return recording.device_of(tag)
    except ValueError as err:
        raise ConfigError(f"--device: {err}") from err


def _params(args: argparse.Namespace, kind: Kind) -> tuple[Params, tuple[str, ...]]:
    """Parameters by the command line, else the recording's own sidecar, else as published."""
    known = recording.sidecar(args.file)
    profile = args.profile or (known.profile if known else "monitor")
    beside = (known.gpu if kind == "gpu" else known.cpu) if known else Recorded()
    limits: dict[str, float | None] = {"rated_power_w": None}
    assumed = []
    published = dict(zip(("rated_power_w", "temp_limit_c"), PUBLISHED_LIMITS[kind], strict=True))
    for name, default in published.items():
        if name == "rated_power_w" and profile == "headroom":
            continue
        given, recorded = getattr(args, name), getattr(beside, name)
        limits[name] = next(value for value in (given, recorded, default) if value is not None)
        if given is None and recorded is None:
            assumed.append(name)
            _say(f"assuming {name} {default:g}, the published default for a {kind}")
    try:
        return profiles.params(profile, **limits), tuple(assumed)
    except ValueError as err:
        raise ConfigError(f"--profile {profile}: {err}") from err


def _write(out: str, played: list[Played]) -> None:
    try:
        if out == "-":
            _write_rows(sys.stdout, played)
            return
        with Path(out).open("w", encoding="utf-8", newline="") as file:
            _write_rows(file, played)
    except BrokenPipeError:
        raise
    except OSError as err:
        raise UnavailableError(f"cannot write {out}: {err.strerror}") from err


def _write_rows(file: TextIO, played: list[Played]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("timestamp", *COLUMNS))
    for row, result, _ in played:
        values = [getattr(result, name) for name in COLUMNS[:-1]]
        writer.writerow((row.stamp, *values, int(result.collapse)))


def _complain(file: Path, complaints: list[Complaint]) -> None:
    for line, text in complaints[:SHOWN_COMPLAINTS_COUNT]:
        _say(f"{file}, line {line}: {text}: skipped")
    if len(complaints) > SHOWN_COMPLAINTS_COUNT:
        _say(f"{file}: {len(complaints)} rows skipped in all")


def _summary(
    file: Path, device: Device, params: Params, assumed: tuple[str, ...], played: list[Played], skipped: int
) -> Summary:
    return Summary(
        file=str(file),
        device=_tag(device),
        profile=params.profile,
        rated_power_w=None if params.profile == "headroom" else params.rated_power_w,
        temp_limit_c=params.temp_limit_c,
        assumed=assumed,
        rows_count=len(played),
        chains_count=played[-1].chain,
        collapse_rows_count=sum(result.collapse for _, result, _ in played),
        skipped_rows_count=skipped,
    )


def _sentence(summary: Summary) -> str:
    power = "" if summary.rated_power_w is None else f"{summary.rated_power_w:g} W, "
    return (
        f"{summary.rows_count} rows of {summary.device} played as {summary.profile} "
        f"({power}{summary.temp_limit_c:g} C); chains: {summary.chains_count}, rows in collapse: "
        f"{summary.collapse_rows_count}, bad rows skipped: {summary.skipped_rows_count}"
    )


def _tag(device: Device) -> str:
    return "".join(device)


def _tags(recorded: Recording) -> str:
    return ", ".join(map(_tag, recorded.devices())) or "no devices"


def _say(text: str) -> None:
    print(f"thermogate replay: {text}", file=sys.stderr)
