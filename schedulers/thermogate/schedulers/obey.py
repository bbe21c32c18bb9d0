"""Makes a scheduler obey: compares what is in force with what is there, and has an adapter do the rest.

Level-triggered: whatever was missed, failed or undone in between, the next look mends it.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import Mapping

from thermogate.core.clock import Clock
from thermogate.core.errors import UnavailableError
from thermogate.core.gate_messages import Outcome
from thermogate.schedulers.adapter import ActionError, Adapter, Marks, Plan, Step
from thermogate.schedulers.backoff import Backoff
from thermogate.schedulers.following import Following
from thermogate.schedulers.journal import Journal
from thermogate.schedulers.reporting import Reporting
from thermogate.schedulers.standing import FREE, Standing, Target
from thermogate.schedulers.watch_settings import ObeySettings

log = logging.getLogger(__name__)


class Obey:
    """`await Obey(...).run(stop)`, inside `async with` of the watch and after `journal.open()`.

    Every target has at most one look at a time, `settings.parallel` of them at once. A look plans, and
    performs unless it is a dry run; what failed is tried again with a backoff. With `dry_run` nothing is ever
    performed, not even undone, and what is reported is "would".
    """

    def __init__(
        self,
        adapter: Adapter,
        watch: Following,
        journal: Journal,
        settings: ObeySettings,
        clock: Clock,
        *,
        dry_run: bool,
        host: str = "",
    ) -> None:
        self._adapter = adapter
        self._watch = watch
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._dry_run = dry_run
        self._reporting = Reporting(adapter.name, host or socket.gethostname(), watch, clock)
        self._backoff: dict[Target, Backoff] = {}
        self._due_s: dict[Target, float] = {}
        self._busy: set[Target] = set()
        self._wake = asyncio.Event()
        self._may_undo = False

    async def run(self, stop: asyncio.Event) -> None:
        """Obey until `stop`; then leave it as it is, or undo it if the settings say so."""
        async with asyncio.TaskGroup() as group:
            doing = [group.create_task(one) for one in (self._follow(), self._resync(), self._settle())]
            group.create_task(self._look_when_due(stop))
            await stop.wait()
            self._wake.set()
            for task in doing:
                task.cancel()
        if self._settings.undo_on_stop:
            await self.undo_all()

    async def undo_all(self) -> bool:
        """Undo everything that the journal knows; whether nothing is left. For the end, and for a command."""
        self._may_undo = True
        for target in self._journal.targets():
            await self._look(target, FREE)
        return not self._journal.targets()

    async def _follow(self) -> None:
        async for change in self._watch.changes():
            target: Target = (change.kind, change.target)
            if change.kind in self._adapter.kinds:
                self._backoff.pop(target, None)
                self._ask(target, 0.0)

    async def _resync(self) -> None:
        while True:
            await self._clock.sleep_until(self._clock.steady_s() + self._settings.resync_s)
            concerned = self._concerned()
            self._reporting.forget_all_but(concerned)
            for target in concerned - self._backoff.keys():
                self._ask(target, 0.0)

    async def _settle(self) -> None:
        """Undo nothing before it is known what is ours and what is in force."""
        await self._adopt()
        await self._first_of(self._watch.heard, self._clock.steady_s() + self._settings.settle_s)
        self._may_undo = True
        for target in self._concerned() - self._backoff.keys():
            self._ask(target, 0.0)

    def look_at(self, target: Target) -> None:
        """Look at it soon, as somebody has changed it; does nothing where nothing is in force or set."""
        if target in self._concerned() and target not in self._backoff:
            self._ask(target, 0.0)

    async def _adopt(self) -> None:
        """What bears our sign and is not in the journal is ours, too."""
        for target, marks in (await self._found()).items():
            known = self._journal.marks(target)
            lost = {name: mark.detail for name, mark in marks.items() if name not in known}
            if lost:
                log.warning(
                    "%s: %s bears our sign and is taken up again", self._adapter.name, "/".join(target)
                )
                try:
                    self._journal.set(target, lost, done=True)
                except UnavailableError as err:  # it is known, and bears its sign at the next start, too
                    log.warning("%s: %s", self._adapter.name, err)

    async def _found(self) -> Mapping[Target, Marks]:
        backoff = Backoff(self._settings.retry_min_s, self._settings.retry_max_s)
        while True:
            try:
                return await self._adapter.found()
            except ActionError as err:
                wait_s = backoff.next_s()
                log.warning(
                    "%s: asked again in %.0f s what bears our sign: %s", self._adapter.name, wait_s, err
                )
                await self._clock.sleep_until(self._clock.steady_s() + wait_s)

    def _concerned(self) -> set[Target]:
        spoken_of = (target for target in self._watch.standings() if target[0] in self._adapter.kinds)
        return {*spoken_of, *self._journal.targets()}

    def _ask(self, target: Target, after_s: float) -> None:
        at_s = self._clock.steady_s() + after_s
        self._due_s[target] = min(at_s, self._due_s.get(target, at_s))
        self._wake.set()

    async def _look_when_due(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is then under way is waited for."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                self._wake.clear()
                now_s = self._clock.steady_s()
                for target in self._due(now_s):
                    del self._due_s[target]
                    self._busy.add(target)
                    group.create_task(self._look_now(target))
                waiting = (at_s for at_s in self._due_s.values() if at_s > now_s)
                await self._first_of(self._wake, min(waiting, default=now_s + self._settings.resync_s))

    def _due(self, now_s: float) -> list[Target]:
        due = (target for target, at_s in self._due_s.items() if at_s <= now_s and target not in self._busy)
        return list(itertools.islice(due, self._settings.parallel - len(self._busy)))

    async def _first_of(self, event: asyncio.Event, steady_s: float) -> None:
        """Return at the event or at the time."""
        waiting = [
            asyncio.ensure_future(event.wait()),
            asyncio.ensure_future(self._clock.sleep_until(steady_s)),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()

    async def _look_now(self, target: Target) -> None:
        try:
            await self._look(target, self._watch.standing(*target))
        finally:
            self._busy.discard(target)
            self._wake.set()

    async def _look(self, target: Target, standing: Standing) -> None:
        """One comparison of what is in force with what is there."""
        marks = self._journal.marks(target)
        if standing.keep or (standing.decision is None and not self._may_undo):
            self._backoff.pop(target, None)  # it may have failed meanwhile: nothing is to be tried again now
            return
        text = ""
        try:
            if standing.held or marks or standing.pace < 1.0:
                plan = await self._adapter.plan(target, _asked(standing), marks)
                text = plan.text
                await self._do(target, standing, plan)
            if standing.would is not None:
                plan = await self._adapter.plan(target, standing.would, {})
                self._say(target, standing, "would" if plan.steps else "nothing", plan)
            self._backoff.pop(target, None)
        except (ActionError, UnavailableError) as err:
            self._failed(target, standing, text, err)

    async def _do(self, target: Target, standing: Standing, plan: Plan) -> None:
        if plan.again_s is not None:
            self._ask(target, plan.again_s)
        if not plan.steps:
            if not self._dry_run:
                self._journal.clear(target, plan.forgets)
            if plan.text:
                self._say(target, standing, "nothing", plan)
        elif self._dry_run:
            self._say(target, standing, "would", plan)
        else:
            self._journal.clear(target, plan.forgets)
            for step in plan.steps:
                await self._step(target, step)
            undone = not standing.held and not any(step.sets for step in plan.steps)
            self._say(target, standing, "undone" if undone else "done", plan)

    async def _step(self, target: Target, step: Step) -> None:
        self._journal.set(target, step.sets, done=False)
        await self._adapter.perform(step)
        self._journal.set(target, step.sets, done=True)
        self._journal.clear(target, step.clears)

    def _say(self, target: Target, standing: Standing, outcome: Outcome, plan: Plan) -> None:
        self._reporting.say(target, standing, outcome, plan.text, tuple(step.text for step in plan.steps))

    def _failed(self, target: Target, standing: Standing, text: str, err: Exception) -> None:
        backoff = self._backoff.setdefault(
            target, Backoff(self._settings.retry_min_s, self._settings.retry_max_s)
        )
        self._ask(target, backoff.next_s())
        self._reporting.say(target, standing, "failed", f"{text or 'looking what is there'}: {err}", ())


def _asked(standing: Standing) -> Standing:
    """What an adapter is asked for: a shadow decision's is not its business here."""
    return FREE if standing.mode == "shadow" else standing
