"""What `Obey` and its reports need of a watch; `GateWatch` is one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from thermogate.core.decision import TargetKind
from thermogate.core.gate_messages import Applied
from thermogate.schedulers.standing import Change, Standing, Target


class Following(Protocol):
    """What is in force and what changes; and a way to say what was done."""

    @property
    def heard(self) -> asyncio.Event:
        """Set once a broker has told what it retains."""
        ...

    def standing(self, kind: TargetKind, target: str) -> Standing:
        """What is in force of a target now; RUN at 1.0 when nothing is."""
        ...

    def standings(self) -> Mapping[Target, Standing]:
        """Every target about which something is said now."""
        ...

    def changes(self) -> AsyncIterator[Change]:
        """Every change, also by expiry."""
        ...

    def report(self, applied: Applied) -> None:
        """Say what was done."""
        ...
