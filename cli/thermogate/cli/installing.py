"""Arguments of `thermogate agent install` and `uninstall`: all of them that a running agent imports."""

import argparse
from pathlib import Path


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register both."""
    _add_install(commands)
    _add_uninstall(commands)


def _add_install(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "install",
        help="run it as a service of this machine (as root)",
        description="Set up user, unit, configuration and credentials, start the service and wait until its"
        " first sample is spooled. Again, it changes what is asked for and keeps everything else.",
    )
    parser.add_argument("--broker", metavar="URL", help="mqtts://HOST[:8883] or mqtt://HOST[:1883]")
    parser.add_argument("--node", help="name of this node (default: its host name)")
    parser.add_argument("--username", help="name at the broker; with the shipped ACL the node's name")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="its first line is the password")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="authorities to trust with mqtts")
    parser.add_argument("--cert-file", type=Path, metavar="FILE", help="certificate of this node")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="key of this node's certificate")
    parser.add_argument(
        "--set", action="append", default=[], dest="sets", metavar="KEY=VALUE", help="a setting"
    )
    parser.add_argument("--no-start", action="store_true", help="start at the next boot only, as in an image")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.set_defaults(run=_install)


def _add_uninstall(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "uninstall",
        help="remove the service and everything of it (as root)",
        description="Stop the service and remove unit, configuration, credentials, state and user."
        " Refuses while the spool holds what no store has yet, unless told what to do with it.",
    )
    spooled = parser.add_mutually_exclusive_group()
    spooled.add_argument("--force", action="store_true", help="throw away what no store has yet")
    spooled.add_argument("--keep-spool", action="store_true", help="leave the spool and the user who owns it")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.set_defaults(run=_uninstall)


def _install(args: argparse.Namespace) -> int:
    from thermogate.cli import install  # with it 0.8 MiB of an agent's 30

    return install.run(args)


def _uninstall(args: argparse.Namespace) -> int:
    from thermogate.cli import uninstall

    return uninstall.run(args)
