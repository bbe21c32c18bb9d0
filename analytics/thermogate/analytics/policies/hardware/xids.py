"""What XIDs mean for the node that has them, and what mends it.

Facts: NVIDIA, "XID Errors" and its XID catalog (immediate and investigatory action),
https://docs.nvidia.com/deploy/xid-errors/. Where the catalog says to go on but to look into it, the XID
counts only when it comes back (`repeats`). XIDs that are not here call for nothing.
"""

from typing import Literal, NamedTuple

Remedy = Literal["none", "reset", "reboot", "inspect", "replace"]
"""none: the application's own fault, or another XID says more; inspect: somebody has to open the machine."""

GRAVEST: tuple[Remedy, ...] = ("replace", "inspect", "reboot", "reset")


class Xid(NamedTuple):
    """One XID: what it means, what mends it, and whether only repeats of it call for that."""

    meaning: str
    remedy: Remedy
    repeats: bool = False


XIDS: dict[int, Xid] = {
    8: Xid("the program's work did not end in time", "none"),
    11: Xid("the program sent invalid commands", "none"),
    13: Xid("the program made the GPU fault", "none"),
    25: Xid("the program sent invalid commands", "none"),
    31: Xid("the program touched memory that is not mapped for it", "none"),
    32: Xid("commands arrived damaged over the bus", "reset", repeats=True),
    43: Xid("the program's work was stopped after a fault of its own", "none"),
    45: Xid("the program's work was cleaned up", "none"),
    46: Xid("the GPU stopped processing", "reset"),
    48: Xid("ECC found an error that it cannot correct", "reset"),
    54: Xid("auxiliary power is not connected to the board", "inspect"),
    62: Xid("the GPU's own controller halted", "reset"),
    63: Xid("a faulty row of memory is to be replaced at the next reset", "reset", repeats=True),
    64: Xid("a faulty row of memory could not be replaced", "replace"),
    69: Xid("the program used a class that the GPU does not have", "none"),
    74: Xid("an NVLink failed", "reset"),
    79: Xid("the GPU has fallen off the bus", "reboot"),
    92: Xid("ECC corrects errors at a high rate", "reset", repeats=True),
    94: Xid("an uncorrectable memory error hit one program", "reset", repeats=True),
    95: Xid("an uncorrectable memory error was not contained", "reset"),
    109: Xid("switching from one program to another took too long", "reset"),
    110: Xid("a security fault", "reboot"),
    119: Xid("the system processor (GSP) did not answer in time", "reset"),
    120: Xid("the system processor (GSP) reported an error", "reset"),
    136: Xid("the training of a link failed", "reset"),
    140: Xid("an uncorrectable ECC error was not recovered from", "reset"),
    143: Xid("the GPU could not be initialized", "reset"),
    144: Xid("an NVLink reported an error (SAW)", "reset", repeats=True),
    145: Xid("an NVLink reported an error (RLW)", "reset", repeats=True),
    146: Xid("an NVLink reported an error (TLW)", "reset", repeats=True),
    147: Xid("an NVLink reported an error (TREX)", "reset", repeats=True),
    148: Xid("an NVLink reported an error (NVLPW)", "reset", repeats=True),
    149: Xid("an NVLink reported an error (NETIR)", "reset", repeats=True),
    150: Xid("an NVLink reported an error (MSE)", "reset", repeats=True),
    151: Xid("the keys of confidential computing could not be changed", "reboot"),
    154: Xid("what the GPU needs to recover has changed", "none"),
    156: Xid("a faulty unit was taken out of use, from the next reset on", "reset"),
    157: Xid("a faulty unit could not be taken out of use", "replace", repeats=True),
    158: Xid("the GPU did not answer in time, for good", "reset"),
}


def rule_of(number: int) -> str:
    """The rule of an XID, as alarms name it."""
    return f"xid{number}"


def metric_of(number: int) -> str:
    """The metric of an XID in a decision's reasons."""
    return f"xid_{number}_count"


BY_RULE: dict[str, Xid] = {rule_of(number): xid for number, xid in XIDS.items() if xid.remedy != "none"}
"""Those that call for something, by rule."""
