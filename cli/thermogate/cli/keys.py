"""`thermogate keys`: the keys that sign decisions and overrides, and whose count."""

import argparse
import getpass
import os
import time
from pathlib import Path

from thermogate.cli import render, settings
from thermogate.core import key_files, keyring
from thermogate.core.errors import ConfigError
from thermogate.core.key_files import TrustedKey
from thermogate.core.signing import SigningKey
from thermogate.core.wire import to_name
from thermogate.dashboard.times import MOST_NS, parse_duration, parse_time

_OVERLAP = "1d"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("keys", help="keys that sign decisions and overrides: make, trust, rotate")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    make = actions.add_parser("make", help="make a key for the gate, or for an operator")
    make.add_argument("whose", choices=("gate", "operator"))
    make.add_argument("--name", help="the operator's (default: your login)")
    make.add_argument(
        "--file", type=Path, help="the operator's key (default ~/.config/thermogate/operator.key)"
    )
    make.add_argument("--trust", action="store_true", help="let this gate trust the operator at once")
    make.set_defaults(run=_make)
    show = actions.add_parser("show", help="ids and public halves of the keys of this machine")
    show.set_defaults(run=_show)
    listed = actions.add_parser("list", help="whose messages this gate trusts")
    listed.add_argument("--json", action="store_true", help="JSON for programs")
    listed.set_defaults(run=_list)
    trust = actions.add_parser("trust", help="trust a public key")
    trust.add_argument("name", help="whose it is")
    trust.add_argument("public", metavar="PUBLIC_KEY", help="as `keys show` tells it")
    trust.add_argument("--for", dest="purpose", choices=("decision", "override"), help="default: both")
    trust.add_argument("--until", metavar="TIME", help="such as 2027-01-01T00:00:00Z")
    trust.set_defaults(run=_trust)
    rotate = actions.add_parser("rotate", help="give the gate a new key, at once and without a restart")
    rotate.add_argument(
        "--overlap", default=_OVERLAP, help=f"how long the old one is trusted (default {_OVERLAP})"
    )
    rotate.add_argument("--prepare", action="store_true", help="only make and trust the next key")
    rotate.set_defaults(run=_rotate)
    revoke = actions.add_parser("revoke", help="trust a key no longer")
    revoke.add_argument("name", help="name or id, as in `keys list`")
    revoke.set_defaults(run=_revoke)
    for action in (make, show, listed, trust, rotate, revoke):
        settings.add_arguments(action, runs=False)


def operator_key_file() -> Path:
    """$XDG_CONFIG_HOME/thermogate/operator.key, by default below ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "thermogate" / "operator.key"


def _make(args: argparse.Namespace) -> int:
    if args.whose == "gate":
        return _make_gate(args)
    file = args.file or operator_key_file()
    key = SigningKey.generate()
    entry = TrustedKey(to_name(args.name or getpass.getuser()), key.public_bytes, purpose="override")
    if args.trust:
        _refuse_known(_trusted(args), entry)
    key.save(file)
    if args.trust:
        keyring.add(_trusted(args), entry)
        render.show(f"key {key.key_id} is in {file}, and trusted in {_trusted(args)}")
        return 0
    render.show(f"key {key.key_id} is in {file}; the gate trusts it after this command there:")
    render.show(f"thermogate keys trust {entry.name} {key.public} --for override")
    return 0


def _make_gate(args: argparse.Namespace) -> int:
    folder = _folder(args)
    if key_files.exists(folder / keyring.GATE_KEY):
        raise ConfigError(f"{folder / keyring.GATE_KEY}: there is a key already: `thermogate keys rotate`")
    key, trusted = keyring.ensure_keys(folder)
    render.show(f"key {key.key_id} is in {folder / keyring.GATE_KEY}; schedulers elsewhere need this line:")
    render.show(next(one.line for one in key_files.read(trusted) if one.key_id == key.key_id))
    return 0


def _show(args: argparse.Namespace) -> int:
    folder = _folder(args)
    places = {
        "gate": _gate_key(args),
        "gate, next": folder / keyring.NEXT_KEY,
        "operator": operator_key_file(),
    }
    rows = []
    for whose, file in places.items():
        if key_files.exists(file):
            key = SigningKey.load(file)
            rows.append((whose, key.key_id, key.public, str(file)))
    render.show(render.table(("WHOSE", "ID", "PUBLIC KEY", "FILE"), rows) if rows else "no key here")
    return 0


def _list(args: argparse.Namespace) -> int:
    keys = key_files.read(_trusted(args))
    if args.json:
        shown = [
            {"name": key.name, "key_id": key.key_id, "for": key.purpose, "until_ns": key.until_ns}
            for key in keys
        ]
        render.show(render.json_text(shown))
        return 0
    now_ns = time.time_ns()
    rows = [(key.name, key.key_id, key.purpose or "both", _until(key, now_ns)) for key in keys]
    render.show(render.table(("NAME", "ID", "FOR", "TRUSTED UNTIL"), rows) if rows else "nobody is trusted")
    return 0


def _trust(args: argparse.Namespace) -> int:
    words = [args.name, args.public]
    words += [f"for={args.purpose}"] if args.purpose else []
    words += [f"until={key_files.rfc3339(parse_time(args.until, time.time_ns()))}"] if args.until else []
    try:
        entry = key_files.parse_line(words)
    except ValueError as err:
        raise ConfigError(str(err)) from err
    if entry.until_ns is not None and entry.until_ns <= time.time_ns():
        raise ConfigError(f"--until {args.until}: lies in the past")
    keyring.add(_trusted(args), entry)
    render.show(
        f"{entry.name} ({entry.key_id}) is trusted in {_trusted(args)}; undo: keys revoke {entry.name}"
    )
    return 0


def _rotate(args: argparse.Namespace) -> int:
    folder = _folder(args)
    if _gate_key(args) != folder / keyring.GATE_KEY:
        raise ConfigError(
            f"analytics.key_file is {_gate_key(args)}: a new key has to be put there by whoever made it"
        )
    if args.prepare:
        entry = keyring.prepare(folder, _trusted(args))
        render.show(
            f"the next key is {entry.key_id}; once schedulers have this line, `thermogate keys rotate`:"
        )
        render.show(entry.line)
        return 0
    old, new = keyring.rotate(
        folder, _trusted(args), min(parse_duration(args.overlap), MOST_NS - time.time_ns())
    )
    assert old.until_ns is not None
    until = render.local_time(old.until_ns)
    render.show(
        f"the gate signs with {new.key_id} now; {old.key_id} is trusted until {until}, and its key is gone"
    )
    render.show(f"schedulers elsewhere need this line:\n{new.line}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    entry = keyring.end(_trusted(args), args.name, time.time_ns())
    render.show(
        f"{entry.name} ({entry.key_id}) is no longer trusted in {_trusted(args)}; others have own files"
    )
    gate = _gate_key(args)
    if key_files.exists(gate) and SigningKey.load(gate).key_id == entry.key_id:
        render.note("the gate signs with this key: nobody obeys it until `thermogate keys rotate`")
    return 0


def _refuse_known(trusted: Path, entry: TrustedKey) -> None:
    if key_files.exists(trusted) and any(one.name == entry.name for one in key_files.read(trusted)):
        raise ConfigError(
            f"{trusted}: there is a key {entry.name} already: take another --name, or revoke it"
        )


def _until(key: TrustedKey, now_ns: int) -> str:
    if key.until_ns is None:
        return "without end"
    told = render.local_time(key.until_ns)
    return told if key.until_ns > now_ns else f"{told} (over)"


def _folder(args: argparse.Namespace) -> Path:
    return settings.data_dir(settings.load(args)) / "keys"


def _trusted(args: argparse.Namespace) -> Path:
    given = settings.load(args).analytics.trusted_file
    return Path(given) if given else _folder(args) / keyring.TRUSTED


def _gate_key(args: argparse.Namespace) -> Path:
    given = settings.load(args).analytics.key_file
    return Path(given) if given else _folder(args) / keyring.GATE_KEY
