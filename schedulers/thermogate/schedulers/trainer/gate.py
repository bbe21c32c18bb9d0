"""A plain object for training loops: held or not, at what pace, why; and back what the training does."""

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from thermogate.core.clock import SystemClock
from thermogate.core.errors import ConfigError
from thermogate.core.gate_messages import Outcome, Report
from thermogate.core.mqtt import MqttSettings
from thermogate.schedulers import configured
from thermogate.schedulers.client import Client
from thermogate.schedulers.standing import FREE, Standing, Target, parse_target
from thermogate.schedulers.trainer.pacing import Pacer
from thermogate.schedulers.watch import GateWatch
from thermogate.schedulers.watch_settings import WatchSettings

log = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How often who waits looks around: a Ctrl-C, the end of the thread."""
_NOBODY: Target = ("job", "")


class Gate:
    """`with Gate("job/train-7") as gate:` and in the loop `gate.wait_if_held(save)` and `gate.keep_pace()`.

    Without arguments the targets are those of THERMOGATE_GATE, as `thermogate run` sets it. Broker and keys
    come from `config`, the environment (THERMOGATE_MQTT_URL, THERMOGATE_SCHEDULERS_WATCH_TRUST_FILE, ...) or
    the arguments, later ones first. `open` raises ConfigError where they will not do. After that nothing here
    raises or blocks, `wait_if_held` apart: without a broker or a valid decision the training runs.

    In a forked process (a data loader's worker) it says RUN and reports nothing. Pickled, it is closed.
    """

    def __init__(
        self,
        *targets: str,
        config: str | Path | None = None,
        broker: str = "",
        trust_file: str | Path = "",
        verify: bool | None = None,
        report_every_s: float = 10.0,
        hear_s: float = 5.0,
    ) -> None:
        self._targets = targets
        self._config = config
        self._broker = broker
        self._trust_file = trust_file
        self._verify = verify
        self._report_every_s = report_every_s
        self._hear_s = hear_s
        self._reset()

    def _reset(self) -> None:
        self._client: Client | None = None
        self._pid = 0
        self._gates: tuple[Target, ...] = ()
        self._held_by: Target = _NOBODY
        self._pacer = Pacer()
        self._waits = False
        self._reported_s = -math.inf

    def open(self) -> Self:
        """Begin to follow the gate."""
        names = self._targets or tuple(filter(None, os.environ.get("THERMOGATE_GATE", "").split(",")))
        if not names:
            raise ConfigError('no gate is named: Gate("job/NAME"), or THERMOGATE_GATE=job/NAME')
        self._gates = tuple(parse_target(name) for name in names)
        found = configured.load(Path(self._config) if self._config else None, os.environ)
        mqtt, watch = self._over(found.mqtt, found.schedulers.watch)
        data_dir = Path(found.data_dir).expanduser() if found.data_dir else None
        host, self._pid = socket.gethostname(), os.getpid()
        client = Client(
            lambda: GateWatch(
                mqtt,
                watch,
                SystemClock(),
                client_id=f"thermogate-trainer-{host}-{self._pid}-{id(self)}",
                targets=self._gates,
                data_dir=data_dir,
            ),
            scheduler="trainer",
            host=host,
        )
        client.open(self._hear_s)
        self._client = client
        return self

    def _over(self, mqtt: MqttSettings, watch: WatchSettings) -> tuple[MqttSettings, WatchSettings]:
        watch = msgspec.structs.replace(watch, state_file="")  # that is a service's
        if self._broker:
            mqtt = msgspec.structs.replace(mqtt, url=self._broker)
        if self._trust_file:
            watch = msgspec.structs.replace(watch, trust_file=str(self._trust_file))
        if self._verify is not None:
            watch = msgspec.structs.replace(watch, verify=self._verify)
        return mqtt, watch

    def close(self) -> None:
        """Send what is still to be said, and end."""
        if self._client is not None and self._pid == os.getpid():
            self._client.close()
        self._reset()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_client", "_pid", "_gates", "_held_by", "_pacer", "_waits", "_reported_s")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def opened(self) -> bool:
        """Whether it follows the gate, in this process."""
        return self._client is not None and self._pid == os.getpid()

    @property
    def held(self) -> bool:
        """Whether the training is to checkpoint and wait now."""
        return self._is_held()

    @property
    def pace(self) -> float:
        """The share of full power, members or batch to use, 0 to 1: the least of all targets."""
        return min((standing.pace for _, standing in self._standings()), default=1.0)

    @property
    def why(self) -> str:
        """The sentence of the decision that asks for most; "" when none does."""
        return self._gravest()[1].why

    def wait_if_held(self, checkpoint: Callable[[], object] | None = None) -> float:
        """If held, call `checkpoint` once and return when released; how many seconds that took, else 0.0."""
        self._waits = True
        if not self._is_held():
            return 0.0
        began_s = time.monotonic()
        if checkpoint is not None:
            checkpoint()
        self.say_held(saved=checkpoint is not None)
        while self._is_held():
            self.wait_change(_LOOK_S)
        waited_s = time.monotonic() - began_s
        self.say_released(waited_s)
        self._pacer.begin(time.monotonic())
        return waited_s

    def wait_change(self, timeout_s: float) -> None:
        """Return when something changes, or after the time."""
        if self._client is not None and self.opened:
            self._client.wait(timeout_s)

    def say_held(self, *, saved: bool) -> None:
        """Say on `applied/` that the training waits, with a checkpoint or without."""
        self._held_by, standing = self._gravest()
        log.warning("%s: %s: %s", "/".join(self._held_by), standing.state, standing.why)
        self._say(standing, "done", "save a checkpoint and wait" if saved else "wait")

    def say_released(self, waited_s: float) -> None:
        """Say that it goes on."""
        log.warning("%s is released after %.0f s", "/".join(self._held_by), waited_s)
        self._say(self._standing(self._held_by), "undone", "go on")

    def _say(self, standing: Standing, outcome: Outcome, text: str) -> None:
        if self._client is not None and self.opened:
            self._client.say(self._held_by, standing, outcome, text)

    def keep_pace(self) -> float:
        """Call after every step: sleeps so long that `pace` of the time is spent in steps; how long.

        Not while held, in a training that calls `wait_if_held`: its checkpoint is not to wait for a sleep.
        """
        if self._waits and self._is_held():
            return 0.0
        rest_s = self._pacer.rest_s(self.pace, time.monotonic())
        if rest_s <= 0.0:
            return 0.0
        began_s = time.monotonic()
        time.sleep(rest_s)
        now_s = time.monotonic()
        self._pacer.slept(now_s - began_s, now_s)
        return now_s - began_s

    def report(
        self,
        *,
        step: int,
        loss: float | None = None,
        grad_norm: float | None = None,
        throughput_per_s: float | None = None,
        **more: float | None,
    ) -> bool:
        """Say it on `request/`, at most every `report_every_s`; whether it was said. Never waits.

        What is None, NaN or infinite is left out.
        """
        if self._client is None or not self.report_due:
            return False
        self._reported_s = time.monotonic()
        given = {"loss": loss, "grad_norm": grad_norm, "throughput_per_s": throughput_per_s, **more}
        known = {name: float(value) for name, value in given.items() if value is not None}
        metrics = {name: value for name, value in known.items() if math.isfinite(value)}
        for kind, name in self._gates:
            if kind in ("job", "trial"):
                at_ns = time.time_ns()
                self._client.request(
                    Report(kind=kind, target=name, time_ns=at_ns, step=step, metrics=metrics)
                )
        return True

    @property
    def report_due(self) -> bool:
        """Whether `report` would say something now: what it takes to measure can be left out else."""
        return self.opened and time.monotonic() - self._reported_s >= self._report_every_s

    def _is_held(self) -> bool:
        return self._gravest()[1].held

    def _standing(self, target: Target) -> Standing:
        return self._client.standing(target) if self._client is not None and self.opened else FREE

    def _standings(self) -> Iterable[tuple[Target, Standing]]:
        return [(target, self._standing(target)) for target in self._gates]

    def _gravest(self) -> tuple[Target, Standing]:
        return min(self._standings(), key=lambda one: (not one[1].held, one[1].pace), default=(_NOBODY, FREE))
