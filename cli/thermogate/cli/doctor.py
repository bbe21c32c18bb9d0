"""`thermogate doctor`: what an operator would check at 3 a.m., with cause and cure.

It looks and changes nothing: it takes no lock, publishes nothing, and is a client of its own at the broker.
"""

import argparse
import os
import shutil
from pathlib import Path

from thermogate.cli import render
from thermogate.cli.checks import configuration, showing, unit
from thermogate.cli.checks.examine import examine
from thermogate.cli.layout import Layout

_EXIT_OK, _EXIT_FAILED, _EXIT_CONFIG = 0, 1, 78
_WIDEST = 120
_UNIT_S = 1.0
"""For each question to systemd that comes before the settings, and so before their deadline, are known."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("doctor", help="check this node's agent, and say cause and cure")
    layout = Layout()
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"settings in TOML (default: {layout.config} if it exists)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="KEY=VALUE",
        help="a setting, such as agent.node=n17",
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"where the spool lives (default: {layout.state}, else that of `up`)",
    )
    parser.add_argument("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883]")
    parser.add_argument("--node", help="name of this node (default: its host name)")
    parser.add_argument("--json", action="store_true", help="a list of {check, state, found, cause, cure}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print every finding. Exit status 0 without a failure, 78 when the configuration is wrong, else 1."""
    configured = configuration.find(args, os.environ, Layout(), unit.look(_UNIT_S))
    findings = examine(configured)
    if args.json:
        render.show(render.json_text(findings))
    else:
        title = f"thermogate doctor: node {configured.node}, data in {configured.folder}"
        width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
        render.show(showing.text(title, findings, width))
    failed = [finding for finding in findings if finding.state == "fail"]
    if any(finding.check.startswith("configuration.") for finding in failed):
        return _EXIT_CONFIG
    return _EXIT_FAILED if failed else _EXIT_OK
