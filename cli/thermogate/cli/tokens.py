"""`thermogate tokens`: who may ask the HTTP API; makes, lists and revokes."""

import argparse
import os
import time
from pathlib import Path

from thermogate.cli import credentials, render
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import config
from thermogate.core.errors import ConfigError
from thermogate.dashboard import token_file, tokens
from thermogate.dashboard.tokens import Token


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("tokens", help="who may ask the HTTP API: create, list, revoke")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a token and show it, once")
    create.add_argument("--name", required=True, help="whom it is for, such as grafana")
    create.add_argument("--scope", choices=("read", "admin"), default="read", help="default read")
    create.set_defaults(run=_create)
    listed = actions.add_parser("list", help="show the tokens there are, without their texts")
    listed.add_argument("--json", action="store_true", help="JSON for programs")
    listed.set_defaults(run=_list)
    revoke = actions.add_parser("revoke", help="end a token, at once")
    revoke.add_argument("name")
    revoke.set_defaults(run=_revoke)
    for action in (create, listed, revoke):
        _where(action)


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, help="the file of tokens (default: dashboard.tokens_file)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")


def _create(args: argparse.Namespace) -> int:
    file = _file(args)
    text, token = tokens.make(args.name, args.scope, time.time_ns())

    def add(known: tuple[Token, ...]) -> tuple[Token, ...]:
        if any(one.name == token.name for one in known):
            raise ConfigError(f"{file}: there is a token {token.name}: revoke it first, or take another name")
        return (*known, token)

    is_new = not file.exists()
    token_file.edit(file, add)
    render.show(text)
    render.note(
        f"token {token.name} of scope {token.scope} is in {file}; its text is not kept, and not shown again"
    )
    if is_new:
        render.note(
            f"{file} is new: the user of the service has to be able to read it (dashboard.tokens_file)"
        )
    return 0


def _list(args: argparse.Namespace) -> int:
    known = token_file.read(_file(args))
    if args.json:
        shown = [{"name": t.name, "scope": t.scope, "created_ns": t.created_ns} for t in known]
        render.show(render.json_text(shown))
    elif known:
        rows = [(token.name, token.scope, render.local_time(token.created_ns)) for token in known]
        render.show(render.table(("NAME", "SCOPE", "CREATED"), rows))
    else:
        render.show("no tokens: nobody may ask")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    file = _file(args)
    token_file.read(file)  # a file that is not there has nothing to revoke

    def remove(known: tuple[Token, ...]) -> tuple[Token, ...]:
        left = tuple(token for token in known if token.name != args.name)
        if len(left) == len(known):
            raise ConfigError(f"{file}: there is no token {render.plain(args.name)}")
        return left

    token_file.edit(file, remove)
    render.show(f"token {args.name} is revoked: its requests are refused and its streams end within seconds")
    return 0


def _file(args: argparse.Namespace) -> Path:
    if args.file is not None:
        given: Path = args.file
        return given
    sets = [*credentials.as_sets(os.environ), *args.sets]
    loaded = config.load(ThermogateSettings, file=args.config, environ=os.environ, sets=sets)
    if not loaded.dashboard.tokens_file:
        raise ConfigError(
            "dashboard.tokens_file is not set: name the file with --file, or the settings with --config"
        )
    return Path(loaded.dashboard.tokens_file)
