"""What thermogate writes into Slurm, and how it knows that again. Pure."""

import re
import unicodedata
from typing import NamedTuple

from thermogate.schedulers.standing import Target

SIGN = "thermogate: "
"""What every Reason and AdminComment of ours begins with."""
_MOST = 250
"""Characters: `sinfo -R` and `scontrol show` stay readable, and the controller keeps them in memory."""
_COMMENT = re.compile(
    re.escape(SIGN) + r"(node|job)/([A-Za-z0-9._-]{1,128}) (hold|suspend|requeue) ([0-9_]+):"
)


class Signed(NamedTuple):
    """What a job's AdminComment says was done, because of which target, to which job."""

    target: Target
    thing: str
    spec: str


def reason(why: str) -> str:
    """The Reason of a drain: our sign and the sentence of the decision."""
    return _short(SIGN + why)


def is_ours(text: str) -> bool:
    """Whether a Reason or an AdminComment is one that we wrote."""
    return text.startswith(SIGN.rstrip())


def comment(signed: Signed, why: str) -> str:
    """The AdminComment of a job."""
    kind, name = signed.target
    return _short(f"{SIGN}{kind}/{name} {signed.thing} {signed.spec}: {why}")


def read_comment(text: str) -> Signed | None:
    """What an AdminComment of ours says; None for any other."""
    match = _COMMENT.match(text)
    if match is None:
        return None
    return Signed(("node" if match[1] == "node" else "job", match[2]), match[3], match[4])


def _short(text: str) -> str:
    """On one line, without what a terminal would obey."""
    printable = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= _MOST else line[: _MOST - 3].rstrip() + "..."
