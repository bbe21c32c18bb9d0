"""A made-up fleet whose devices repeat what real ones were recorded doing, one sample a second."""

from collections.abc import Container, Iterable
from pathlib import Path

from tests.fake_query import FakeQuery, recorded
from thermogate.core.clock import NS
from thermogate.core.decision import Cjp, GateDecision, Reason, State
from thermogate.core.model import DeviceInfo, Event, Status
from thermogate.core.wire import Point

MODEL = "RTX-3060-Ti"
LIMIT_C = 83.0
HISTORY_S = 300


class FakeFleet:
    """`nodes` nodes of `gpus` GPUs; the first `with_history` devices have five minutes behind them.

    `replayed` nodes are labelled so. `tick` adds the next sample of every device that is not in `silent`.
    """

    def __init__(
        self,
        sessions: Iterable[Path],
        *,
        nodes: int,
        gpus: int,
        now_ns: int,
        with_history: int = 8,
        replayed: Container[str] = (),
    ) -> None:
        self.query = FakeQuery()
        self.silent: set[tuple[str, str]] = set()
        self.warmer_c: dict[tuple[str, str], float] = {}
        self._replayed = replayed
        self._plays = [recorded(file, node="", end_ns=0) for file in sessions]
        self._devices = [(f"gpu-{n + 1:02}", str(g)) for n in range(nodes) for g in range(gpus)]
        for second in range(HISTORY_S, 0, -1):
            self._tick(now_ns - second * NS, self._devices[:with_history])
        self._tick(now_ns, self._devices)
        for node in dict.fromkeys(node for node, _ in self._devices):
            self.set_status(node, now_ns)

    @property
    def devices(self) -> list[tuple[str, str]]:
        """(node, number) of every device."""
        return list(self._devices)

    def tick(self, now_ns: int) -> None:
        self._tick(now_ns, [device for device in self._devices if device not in self.silent])

    def set_status(self, node: str, now_ns: int, *, online: bool = True, text: str = "") -> None:
        infos = (
            DeviceInfo(kind="gpu", device=number, model=MODEL, temp_limit_c=LIMIT_C, rated_power_w=200.0)
            for its_node, number in self._devices
            if its_node == node
        )
        self.query.status[node] = Status(
            node=node, online=online, time_ns=now_ns, devices=tuple(infos), text=text
        )

    def collapse_event(self, node: str, number: str, time_ns: int) -> None:
        self.query.event_list.append(
            Event(
                node=node,
                event="collapse_began",
                time_ns=time_ns,
                text="RLE 0.13 fell below 65 % of its peak 0.21",
                device_kind="gpu",
                device=number,
            )
        )

    def _tick(self, now_ns: int, devices: Iterable[tuple[str, str]]) -> None:
        for place, (node, number) in enumerate(devices):
            play = self._plays[place % len(self._plays)]
            sample = play[(now_ns // NS + place * 37) % len(play)]
            origin = "replay" if node in self._replayed else ""
            fields = dict(sample.fields)
            fields["temp_c"] += self.warmer_c.get((node, number), 0.0)
            self.query.add([Point("gpu", node, number, MODEL, origin, fields, now_ns)])


def decision(
    target: str, state: State, why: str, *, now_ns: int, id_: str, **changes: object
) -> GateDecision:
    """A shadow decision that is valid for five minutes, unless `changes` says otherwise."""
    given = {
        "seq": 1,
        "kind": "node",
        "pace": 0.6,
        "mode": "shadow",
        "issued_at_ns": now_ns,
        "expires_at_ns": now_ns + 300 * NS,
        "policy": "thermal",
        "policy_version": 1,
        "because": (Reason(metric="collapse_count", value=4, threshold=3, window_s=600, device="gpu0"),),
        "cjp": Cjp("none: temperature and RLE agree", why, "released after 10 min without a collapse"),
        "inputs": "sha256:0",
        **changes,
    }
    return GateDecision(id=id_, target=target, state=state, why=why, **given)  # type: ignore[arg-type]
