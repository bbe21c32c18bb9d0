"""What `thermogate collector setup` does to a store, told a line at a time."""

from typing import Literal

import msgspec


class Step(msgspec.Struct, frozen=True):
    """Something that the store needs: whether it was made, changed, there already, or left as it was."""

    did: Literal["made", "changed", "there", "left"]
    what: str


class Wish(msgspec.Struct, frozen=True):
    """What may be done: nothing but saying what would be, and whether a retention may become shorter."""

    dry_run: bool = False
    shrink: bool = False
