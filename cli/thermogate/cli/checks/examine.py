"""All looks side by side, then all judgements, in the order of cause."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from thermogate.agent.sources.worker import Worker
from thermogate.cli.checks import (
    broker,
    broker_look,
    gpus,
    nvidia,
    packages,
    people,
    sensing,
    sensors,
    service,
    spool,
    spool_ask,
    timekeeping,
)
from thermogate.cli.checks.broker_look import BrokerLook
from thermogate.cli.checks.configuration import Configured
from thermogate.cli.checks.finding import Finding, absent, fail
from thermogate.cli.checks.gpus import KernelLook
from thermogate.cli.checks.people import Person
from thermogate.cli.checks.sensing import Sensed
from thermogate.cli.checks.spool_look import SpoolLook
from thermogate.core.errors import ConfigError

_ORDER = ("installation", "configuration", "service", "nvidia", "sensors", "broker", "spool", "clock")
"""What stands first may be why something later fails."""
_LAST_S = 1.0
"""What is left of the deadline when the processes that read sensors and spool are given up."""

T = TypeVar("T")


def examine(configured: Configured) -> list[Finding]:
    """Every finding, in the order of cause, within `doctor.deadline_s`."""
    limits = configured.settings.doctor
    folder = configured.folder / "spool" / configured.node
    unit = _Look("service", lambda: service.look(limits.step_timeout_s))
    clock = _Look("clock", timekeeping.look)
    spooled = _Look(
        "spool", lambda: spool_ask.ask(configured.folder, configured.node, limits.deadline_s - _LAST_S)
    )
    way = _Look("broker", lambda: _reach(configured)) if configured.valid else None
    sensed = _Look("sensors", lambda: _sense(configured)) if configured.valid else None
    begun: list[Future[Any]] = [look.future for look in (unit, clock, spooled, way, sensed) if look]
    wait(begun, limits.deadline_s)

    seen = spooled.future.result() if spooled.future.done() else _unseen(folder)
    person = _agent_person(seen)
    findings = [*packages.judge(packages.look()), *configured.findings, *unit.judged(service.judge)]
    findings += clock.judged(lambda found: timekeeping.judge(found, seen.jumps_s, limits))
    if way and sensed:
        findings += sensed.judged(lambda found: _sensors(*found, configured, seen, person))
        findings += way.judged(lambda found: _broker(found, configured))
        findings += spool.judge(seen, person, configured.settings.agent.spool, limits)
    return sorted(findings, key=lambda finding: _ORDER.index(finding.check.partition(".")[0]))


class _Look(Generic[T]):
    """A look in a thread of its own: one that hangs holds up no other, and not the end of the process."""

    def __init__(self, group: str, look: Callable[[], T]) -> None:
        self._group = group
        self.future: Future[T] = Worker[T](group).submit(look)

    def judged(self, judge: Callable[[T], list[Finding]]) -> list[Finding]:
        """What `judge` makes of the answer, or that there is none in time."""
        if self.future.done():
            return judge(self.future.result())
        cause = "something that this check asks hangs: a disk, a name server, a driver or systemd"
        return [fail(f"{self._group}.answer", "no answer in time", cause, "dmesg -T | tail -50; uptime")]


def _sense(configured: Configured) -> tuple[Sensed, KernelLook]:
    limits, agent = configured.settings.doctor, configured.settings.agent
    kernel = gpus.look(Path(agent.host.sysfs_root), Path(agent.host.procfs_root))
    timeout_s = limits.deadline_s - _LAST_S
    return sensing.ask(agent, driver_s=limits.step_timeout_s, timeout_s=timeout_s), kernel


def _sensors(
    sensed: Sensed, kernel: KernelLook, configured: Configured, seen: SpoolLook, person: Person
) -> list[Finding]:
    limits, period_s = configured.settings.doctor, configured.settings.agent.period_s
    judged = sensors.judge(sensed, kernel, seen, person, period_s, limits)
    return [*nvidia.judge(sensed, kernel, person), *judged]


def _reach(configured: Configured) -> BrokerLook | ConfigError:
    limits = configured.settings.doctor
    try:
        return broker_look.look(configured.mqtt, configured.node, limits.step_timeout_s)
    except ConfigError as err:
        return err


def _broker(found: BrokerLook | ConfigError, configured: Configured) -> list[Finding]:
    limits = configured.settings.doctor
    if isinstance(found, ConfigError):
        if isinstance(found.__cause__, PermissionError):
            return [broker.unreadable(str(found))]
        cure = "put the file there, or correct the setting; the agent does not start without"
        return [fail("configuration.files", configured.mqtt.url, str(found), cure)]
    if configured.secrets_hidden and found.failed_at in ("tls", "login"):
        text = f"{configured.mqtt.url}: not asked as the agent would"
        if configured.secrets_hidden == "encrypted":
            return [absent("broker.login", f"{text}, whose encrypted credentials only the running one has")]
        return [broker.unreadable(text)]
    patient = msgspec.structs.replace(configured.mqtt, connect_timeout_s=limits.step_timeout_s)
    return broker.judge(found, patient, configured.node, datetime.now(UTC), limits)


def _agent_person(seen: SpoolLook) -> Person:
    """Who runs the agent, else who would as a service, else who asks."""
    if seen.writer is not None:
        return seen.writer.person
    return people.service_user() or people.myself()


def _unseen(folder: Path) -> SpoolLook:
    return SpoolLook(folder=str(folder), hidden=f"{folder}: no answer in time")
