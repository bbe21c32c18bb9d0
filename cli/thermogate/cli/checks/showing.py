"""Findings as text for a terminal: by group, aligned, and what to do first at the end."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from thermogate.cli.checks.finding import Finding, State, plural

_MARKS: dict[State, str] = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "n/a": "n/a"}


def text(title: str, findings: Sequence[Finding], width: int) -> str:
    """All findings in their order, lines no longer than `width` where words allow."""
    lines = [title]
    column = max(len(_name(finding)) for finding in findings) + 2
    for group, members in groupby(findings, _group):
        lines += ["", group]
        for finding in members:
            head = f"  {_MARKS[finding.state]:<6}{_name(finding):<{column}}"
            lines += _wrapped(head, finding.found, width)
            if finding.cause:
                lines += _wrapped("        cause  ", finding.cause, width)
                lines += _wrapped("        cure   ", finding.cure, width)
    return "\n".join([*lines, "", *summary(findings, width)])


def summary(findings: Sequence[Finding], width: int) -> list[str]:
    """How many problems there are, and the first thing to do: findings stand in the order of cause."""
    failed = [finding for finding in findings if finding.state == "fail"]
    warned = [finding for finding in findings if finding.state == "warn"]
    if not failed and not warned:
        return ["no problem found"]
    counts = [plural(len(failed), "problem")] if failed else []
    counts += [plural(len(warned), "warning")] if warned else []
    first = (failed or warned)[0]
    lead = f"{', '.join(counts)}. First: {first.check}: "
    return [*_wrapped("", lead + first.cause, width), *_wrapped("  ", first.cure, width)]


def _wrapped(head: str, body: str, width: int) -> list[str]:
    """`body` behind `head`; further lines are indented as far."""
    return textwrap.wrap(
        body,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]


def _group(finding: Finding) -> str:
    return finding.check.partition(".")[0]


def _name(finding: Finding) -> str:
    return finding.check.partition(".")[2]
