"""`thermogate gate`: an operator's word, which goes before every policy: what, about what, why, how long."""

import argparse
import asyncio
import getpass
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, get_args

from thermogate.cli import gate_talk, gate_words, render, rundir, sub
from thermogate.cli.gate_talk import Heard
from thermogate.cli.keys import operator_key_file
from thermogate.core import key_files
from thermogate.core.errors import ConfigError
from thermogate.core.gate_messages import Override, OverrideKind
from thermogate.core.keyring import OPERATOR_KEY, TRUSTED
from thermogate.core.signing import SigningKey
from thermogate.dashboard.times import format_clock

_ACTIONS = {
    "hold": "start nothing new there; running work checkpoints and waits",
    "repair": "take it out of rotation",
    "run": "let it run, whatever the policies say",
    "maintain": "a maintenance window: keep what is held, change nothing",
}
_NOT_ECHOED = "the broker took it and does not give it back: may this user write and read override/#?"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser(
        "gate", help="hold, repair, run or maintain a target; with a reason and an end"
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, what in _ACTIONS.items():
        action = actions.add_parser(name, help=what)
        _add_target(action)
        action.add_argument("--for", dest="for_", metavar="TIME", help="how long, such as 2h; 30d at most")
        action.add_argument(
            "--from", dest="start", metavar="TIME", help="such as +30m or 2026-11-21T20:00:00Z"
        )
        action.add_argument("--why", help="one sentence: it stands in every decision that comes of it")
        if name in ("hold", "run"):
            action.add_argument("--pace", type=float, help="share of full power, 0 to 1 (default 1)")
        _add_who(action)
        action.set_defaults(run=_say, action=name)
    clear = actions.add_parser("clear", help="take back what was said about a target")
    _add_target(clear)
    _add_who(clear)
    clear.set_defaults(run=_clear)
    listed = actions.add_parser("list", help="what operators have said that is not over")
    listed.add_argument("--json", action="store_true", help="JSON for programs")
    listed.set_defaults(run=_list)
    for action in actions.choices.values():
        action.add_argument(
            "--broker", metavar="URL", help="mqtt://HOST:PORT (default: that of a running `up`)"
        )
        action.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; [mqtt] counts")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=get_args(OverrideKind))
    parser.add_argument("target", nargs="?", help="its name; none for the fleet")


def _add_who(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", help="who says so (default: your login)")
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="your key (default: that of `keys make operator`)"
    )


def _say(args: argparse.Namespace) -> int:
    word = gate_words.word(args, args.by or getpass.getuser(), time.time_ns())
    sealed, payload = _key(args.key).seal(word)
    heard = _talk(args, lambda settings: gate_talk.say(settings, sealed, payload))
    name, now_ns = gate_words.name(word), time.time_ns()
    begins = "now" if word.from_ns <= now_ns else format_clock(word.from_ns, now_ns)
    render.show(f"{name}: {word.state} from {begins} until {format_clock(word.until_ns, now_ns)}: {word.why}")
    render.show(f"undo: thermogate gate clear {name}")
    return _tell(heard, word, now_ns)


def _tell(heard: Heard, word: Override, now_ns: int) -> int:
    """What came of it; 1 when it did not get through: a broker acknowledges also what it drops."""
    if not heard.echoed:
        render.note(_NOT_ECHOED)
        return 1
    if heard.answers:
        first = heard.answers[0]
        more = f" (and {len(heard.answers) - 1} more)" if len(heard.answers) > 1 else ""
        render.show(f"the gate says {first.state} of {first.kind} {first.target}{more}")
    elif word.from_ns <= now_ns:
        render.note(
            "no decision has come of it yet: is there such a target, does analytics run, and does it trust"
            " this key (`thermogate keys list`)?"
        )
    return 0


def _clear(args: argparse.Namespace) -> int:
    kind, target = gate_words.target(args)
    key, by = _key(args.key), args.by or getpass.getuser()
    before, heard, decided = _talk(args, lambda settings: gate_talk.clear(settings, key, kind, target, by))
    if not heard.echoed:
        render.note(_NOT_ECHOED)
        return 1
    name = "fleet" if kind == "fleet" else f"{kind} {target}"
    if before is None:
        render.show(f"{name}: nothing was said about it; nothing stands there now")
        return 0
    render.show(f"{name}: {before.state} of {before.by} ({before.why}) is taken back; policies decide again")
    if decided and not heard.answers:
        render.note(
            "no decision has come of it yet: does analytics run, and does it trust this key"
            " (`thermogate keys list`)? If not, it stays as it was"
        )
    return 0


def _list(args: argparse.Namespace) -> int:
    now_ns = time.time_ns()
    words = [word for word in _talk(args, gate_talk.standing) if word.until_ns > now_ns]
    if args.json:
        render.show(render.json_text(words))
        return 0
    if not words:
        render.show("no operator has said anything: policies decide")
        return 0
    names = _names()
    rows = [
        (*gate_words.cells(word, now_ns), names.get(word.issuer, word.issuer or "UNSIGNED")) for word in words
    ]
    render.show(render.table(("TARGET", "STATE", "PACE", "FROM", "UNTIL", "BY", "WHY", "KEY"), rows))
    return 0


def _talk(args: argparse.Namespace, what: Any) -> Any:
    async def talk() -> Any:
        working: Coroutine[Any, Any, Any] = what(await sub.settings(args))
        return await working

    return asyncio.run(talk())


def _key(given: Path | None) -> SigningKey:
    """That of --key, else of the person, else of this machine's data folder. Raises ConfigError."""
    if given is not None:
        return SigningKey.load(given)
    own, shared = operator_key_file(), rundir.default_data_dir() / "keys" / OPERATOR_KEY
    for file in (own, shared):
        if os.path.exists(file):  # noqa: PTH110 - False, too, where we may not look: then it is not ours
            return SigningKey.load(file)
    raise ConfigError(
        f"{own}: you have no key yet: `thermogate keys make operator` makes one, and says who must trust it"
    )


def _names() -> dict[str, str]:
    """Names of the keys that this machine's gate trusts; {} where we may not read them, or none are."""
    try:
        return {key.key_id: key.name for key in key_files.read(rundir.default_data_dir() / "keys" / TRUSTED)}
    except ConfigError:
        return {}
