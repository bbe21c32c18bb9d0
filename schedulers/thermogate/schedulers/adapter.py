"""What a scheduler adapter is: it reads what is there, and gives the steps from there to what is wanted.

`Obey` (obey.py) does the rest for all of them: when to ask, dry run and shadow, the journal, undoing,
retries and reports on `applied/`. tests/contract/test_schedulers.py holds every adapter to this page.
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from thermogate.core.decision import TargetKind
from thermogate.core.errors import ThermogateError
from thermogate.schedulers.standing import Standing, Target


class ActionError(ThermogateError):
    """The scheduler refused, or did not answer. Tried again later; its text is reported."""


class Mark(msgspec.Struct, frozen=True):
    """One thing that thermogate has set on a target, as the journal keeps it.

    `detail` is the adapter's own: what it needs to know the thing again and to undo it (the reason that it
    wrote, the limit before). `done` is False from before the step until after it: after a crash in
    between, only the scheduler knows whether it was set.
    """

    detail: str = ""
    done: bool = True


Marks = Mapping[str, Mark]
"""By name of the thing within its target, such as "drain"."""


class Step(msgspec.Struct, frozen=True):
    """One command or request.

    `text` is it as a person would type it, and goes into `Applied.actions`: no secrets. `data` is what
    `perform` needs, the adapter's own: an argument vector or a request, never a line for a shell. `sets` are
    journaled before it is performed and `clears` are taken out of the journal after it has been.
    """

    text: str
    data: object = None
    sets: Mapping[str, str] = {}
    """Names and details of marks."""
    clears: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """What is to be done about one target, in this order; no steps: it is so already, or is another's.

    `text` is one sentence for a person, true whether the steps are performed or would be ("drain node n17").
    Without steps it says why ("node n17 was drained by somebody: new fan"), and is "" where all is as we
    have set it: then there is nothing to report.
    `forgets` are marks that are no longer there to be undone: somebody else has changed what we set.
    `again_s`: ask again after this, as a step (a grace after a checkpoint signal) is due then.
    """

    text: str
    steps: tuple[Step, ...] = ()
    forgets: tuple[str, ...] = ()
    again_s: float | None = None


class Adapter(Protocol):
    """One kind of scheduler.

    Every method may raise ActionError, ends within a time limit of its own, and keeps no state that a restart
    would lose. At most one look at a target runs at a time; those at several targets run at once.
    """

    @property
    def name(self) -> str:
        """The `scheduler` of its reports: "slurm"."""
        ...

    @property
    def kinds(self) -> tuple[TargetKind, ...]:
        """The kinds of target that it obeys."""
        ...

    async def plan(self, target: Target, wanted: Standing, marks: Marks) -> Plan:
        """The steps from what is there now to `wanted`. Reads only: it is also called in a dry run.

        - `wanted.state` and `wanted.pace` are to be obeyed whatever their mode; `keep` never comes here.
          RUN at 1.0 means: undo what is in `marks`, and nothing else.
        - Idempotent: with everything as wanted and in `marks`, no steps. It is asked again every
          `resync_s`, after each failure, and after a restart.
        - What is so already without being in `marks` is another's (an operator drained it): no step, and
          it never gets a mark, so that it is never undone.
        - A mark that is `done` and whose thing is not there any more, or is another's now, has been undone by
          somebody: while held it is not set again; at RUN it goes into `forgets`.
        - A mark that is not `done`: look whether the thing is there with our detail; set it, or undo it.
        - A target that the scheduler does not know: no steps, the marks in `forgets`, a text that says so.
        - Waits (a checkpoint's grace) are `again_s` and a mark with the time, never a sleep.
        """
        ...

    async def perform(self, step: Step) -> None:
        """Do one step of a plan. To do it twice is to do it once. Raises ActionError."""
        ...

    async def found(self) -> Mapping[Target, Marks]:
        """What bears thermogate's own sign in the scheduler (a drain's reason, an annotation): adopted at the
        start where the journal does not have it, so that a lost journal leaves nothing behind; {} if there is
        no such sign."""
        ...
