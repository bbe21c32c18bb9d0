"""`thermogate agent uninstall`: nothing stays of the service, unless it would lose what was measured."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from thermogate.cli import service, unsent
from thermogate.cli.hand import Hand
from thermogate.cli.install import require_root
from thermogate.cli.layout import UNIT, USER, Layout
from thermogate.cli.live import node_name
from thermogate.cli.settings import ThermogateSettings
from thermogate.core import config
from thermogate.core.errors import ConfigError, UnavailableError

Count = Callable[[Path], Mapping[str, int]]
"""How many messages of a data folder no store has, by node; raises UnavailableError."""


def run(args: argparse.Namespace) -> int:
    """Uninstall from this machine. Raises UnavailableError with what is in the way."""
    if not args.dry_run:
        require_root("uninstall")
    do = Hand(service.say, dry_run=args.dry_run)
    uninstall(Layout(), do, force=args.force, keep_spool=args.keep_spool, count=unsent.count_as_owner)
    if do.idle:
        service.say("no agent is installed on this machine")
    return 0


def uninstall(at: Layout, do: Hand, *, force: bool, keep_spool: bool, count: Count) -> None:
    """Remove what `install` made, or raise UnavailableError and go on as before."""

    def check() -> None:
        if not keep_spool:
            _check_user_is_idle(at)
        if not force and not keep_spool:
            _check_sent(at, count)

    _stop(at, do, check)
    if at.unit.exists():
        do.run("systemctl", "disable", UNIT)
    do.remove(at.unit)
    do.remove(at.drop_ins)
    if at.systemd.is_dir() and do.changed:
        do.run("systemctl", "daemon-reload")
        _forget_failures(do)
    _remove_files(at, do)
    if keep_spool:
        service.say(f"kept {at.state} and its owner, the user {USER}")
        return
    do.remove(at.state)
    _remove_user(at, do)


def _stop(at: Layout, do: Hand, check: Callable[[], None]) -> None:
    """Stop the service, which sends what it can; start it again when `check` raises."""
    runs = at.systemd.is_dir() and at.unit.exists()
    was_active = runs and do.ask("systemctl", "is-active", UNIT) in ("active", "activating")
    if runs:
        do.run("systemctl", "stop", UNIT)
    if do.dry_run:
        return
    try:
        check()
    except (UnavailableError, KeyboardInterrupt):
        if was_active:
            do.run("systemctl", "start", "--no-block", UNIT)
        raise


def _check_user_is_idle(at: Layout) -> None:
    account = at.account()
    pids = at.processes_of(account[2]) if account else []
    if pids:
        raise UnavailableError(
            f"the user {USER} cannot be removed while processes of it run: {', '.join(map(str, pids))}"
            f" (ps -f -u {USER}): end them; nothing was removed"
        )


def _check_sent(at: Layout, count: Count) -> None:
    left = count(at.state)
    if not left:
        return
    node = _node(at)
    former = ", ".join(name for name in left if node and name != node)
    ways = ["wait until collectors have taken them"] if not node or node in left else []
    if former:
        ways.append(
            f"those of {former} are sent only by an agent of that name, and this node's is {node}"
            " (install --node NAME --username NAME)"
        )
    raise UnavailableError(
        f"{sum(left.values())} messages in {at.state}/spool are in no store yet and would be lost:"
        f" {'; '.join(ways)}; or choose --keep-spool or --force; nothing was removed"
    )


def _node(at: Layout) -> str:
    """Whose samples the service sends; "" where its configuration does not tell."""
    try:
        return node_name(config.load(ThermogateSettings, file=at.config).agent)
    except ConfigError:
        return ""


def _forget_failures(do: Hand) -> None:
    if do.ask("systemctl", "is-failed", UNIT) == "failed":
        do.run("systemctl", "reset-failed", UNIT)


def _remove_files(at: Layout, do: Hand) -> None:
    do.remove(at.credentials)
    others = at.others()
    if others:
        service.say(f"kept {at.config}: {', '.join(others)} may read it")
    else:
        do.remove(at.config)
    do.remove_if_empty(at.folder)
    _tell_of_strangers(at, do)
    do.remove(at.udev_rule)
    for counter in at.energy_counters():
        if counter.group() == USER:
            do.owner(counter, group="root", mode=0o400)


def _tell_of_strangers(at: Layout, do: Hand) -> None:
    """What somebody else has put there may be a secret, and is theirs to remove."""
    ours = (at.config, at.credentials)
    left = sorted(path.name for path in at.folder.glob("*") if path not in ours)
    if left and not do.idle:
        service.say(f"kept {at.folder}: {', '.join(left)}, not of install's making")


def _remove_user(at: Layout, do: Hand) -> None:
    """Only one whom `install` has made."""
    if at.account():
        do.run("userdel", USER)
        if not do.dry_run and do.ask("getent", "group", USER):  # where userdel leaves the group of that name
            do.run("groupdel", USER)
