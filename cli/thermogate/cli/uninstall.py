"""`thermogate agent uninstall`: nothing stays of the service, unless it would lose what was measured."""

import argparse
from collections.abc import Callable
from pathlib import Path

from thermogate.cli import service, unsent
from thermogate.cli.hand import Hand
from thermogate.cli.install import require_root
from thermogate.cli.layout import GECOS, UNIT, USER, Layout
from thermogate.core.errors import UnavailableError


def run(args: argparse.Namespace) -> int:
    """Uninstall from this machine. Raises UnavailableError with what is in the way."""
    if not args.dry_run:
        require_root("uninstall")
    do = Hand(service.say, dry_run=args.dry_run)
    uninstall(Layout(), do, force=args.force, keep_spool=args.keep_spool, count=unsent.count_as_owner)
    if not do.changed:
        service.say("no agent is installed on this machine")
    return 0


def uninstall(at: Layout, do: Hand, *, force: bool, keep_spool: bool, count: Callable[[Path], int]) -> None:
    """Remove what `install` made. `count` tells how many messages of a data folder no store has."""
    _stop(at, do, refuse=not force and not keep_spool, count=count)
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


def _stop(at: Layout, do: Hand, *, refuse: bool, count: Callable[[Path], int]) -> None:
    """Stop the service, which sends what it can; start it again when something would be lost."""
    runs = at.systemd.is_dir() and at.unit.exists()
    was_active = runs and do.ask("systemctl", "is-active", UNIT) in ("active", "activating")
    if runs:
        do.run("systemctl", "stop", UNIT)
    if not refuse or do.dry_run:
        return
    try:
        _check_sent(at, count)
    except UnavailableError:
        if was_active:
            do.run("systemctl", "start", "--no-block", UNIT)
        raise


def _check_sent(at: Layout, count: Callable[[Path], int]) -> None:
    left = count(at.state)
    if left:
        raise UnavailableError(
            f"{left} messages in {at.state}/spool are in no store yet and would be lost: wait until"
            " collectors have taken them, or choose --keep-spool or --force; nothing was removed"
        )


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
    do.remove(at.udev_rule)
    for counter in at.energy_counters():
        if counter.group() == USER:
            do.owner(counter, group="root", mode=0o400)


def _remove_user(at: Layout, do: Hand) -> None:
    """Only one whom `install` has made."""
    entries = at.passwd.read_text(encoding="utf-8").splitlines()
    if any(entry.split(":")[0] == USER and entry.split(":")[4] == GECOS for entry in entries):
        do.run("userdel", USER)
        if not do.dry_run and do.ask("getent", "group", USER):  # where userdel leaves the group of that name
            do.run("groupdel", USER)
