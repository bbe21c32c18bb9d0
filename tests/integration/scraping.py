"""A real Prometheus that reads a dashboard, and a store that is fed what a fleet publishes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import aiohttp
import pytest

from tests import servers
from tests.fake_fleet import decision
from tests.recorded_fleet import RecordedFleet
from thermogate.collector.config import EmbeddedSettings
from thermogate.collector.counters import Counters
from thermogate.collector.store.base import Batch, Store
from thermogate.collector.store.embedded import EmbeddedStore
from thermogate.core.clock import SystemClock
from thermogate.core.decision import State
from thermogate.dashboard.answers import Answers
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.settings import DashboardSettings

NODES = ("n1", "n2", "sim-1")
PATIENCE_S = 60.0
_CONFIG = Path(__file__).parents[2] / "grafana" / "prometheus.yml"


def scrape_config(target: str) -> str:
    """Ours, with another address, and as often as a test has patience for."""
    text = _CONFIG.read_text()
    text = text.replace("127.0.0.1:8420", target).replace("interval: 15s", "interval: 1s")
    return text.replace("timeout: 10s", "timeout: 1s")


@contextlib.contextmanager
def victoria(folder: Path, config: str) -> Iterator[str]:
    """A VictoriaMetrics that scrapes by itself."""
    file = folder / "prometheus.yml"
    file.write_text(config)
    with servers.victoria(folder, extra=(f"-promscrape.config={file}",)) as url:
        yield url


class Asking:
    """PromQL over HTTP."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def series(self, query: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The instant vector, by sorted labels."""
        async with self._client.get("/api/v1/query", params={"query": query}) as answer:
            data = await answer.json()
        assert data["status"] == "success", (query, data)
        return {
            tuple(sorted(one["metric"].items())): float(one["value"][1]) for one in data["data"]["result"]
        }

    async def values(self, metric: str, label: str) -> set[str]:
        """As Grafana's label_values(metric, label)."""
        return {dict(of)[label] for of in await self.series(metric) if label in dict(of)}

    async def until(self, query: str, true: Callable[[dict[object, float]], bool]) -> None:
        """Return when the answer to `query` is as wished."""
        deadline = time.monotonic() + PATIENCE_S
        found: dict[object, float] = {}
        while time.monotonic() < deadline:
            found = dict(await self.series(query))
            if true(found):
                return
            await asyncio.sleep(0.2)
        pytest.fail(f"{query} is {found} after {PATIENCE_S:.0f} s")


class Feeding:
    """Writes what the fleet publishes into a store, every second."""

    def __init__(self, store: Store, fleet: RecordedFleet) -> None:
        self.silent: set[tuple[str, str]] = set()
        self._store = store
        self._fleet = fleet

    async def run(self) -> None:
        while True:
            now_ns = time.time_ns()
            gate = decision("n1", State.HOLD, "too hot", now_ns=now_ns, id_=str(now_ns))
            await self._store.write(
                Batch(
                    telemetry=(
                        *self._fleet.telemetry(now_ns, self.silent),
                        *self._fleet.signals(now_ns),
                    ),
                    statuses=tuple(self._fleet.statuses(now_ns)),
                    decisions=(gate,),
                )
            )
            await asyncio.sleep(1.0)


@contextlib.asynccontextmanager
async def scraped(
    folder: Path, server: Callable[[Path, str], AbstractContextManager[str]] = servers.prometheus
) -> AsyncIterator[tuple[Asking, Feeding]]:
    """`server(folder, configuration)` is what scrapes."""
    clock = SystemClock()
    settings = DashboardSettings(listen="127.0.0.1:0", stale_after_s=3.0)
    fleet = RecordedFleet(NODES, replayed=["sim-1"])
    async with EmbeddedStore(folder, EmbeddedSettings(threads=1), clock) as store:
        feeding = Feeding(store, fleet)
        answers = Answers(store, clock, settings, counters=Counters(samples=7).as_dict)
        async with Dashboard(answers, settings) as dashboard:
            task = asyncio.create_task(feeding.run())
            target = dashboard.url.removeprefix("http://").rstrip("/")
            with server(folder, scrape_config(target)) as url:
                async with aiohttp.ClientSession(url) as client:
                    asking = Asking(client)
                    await asking.until("thermogate_gpu_temp_celsius", lambda found: len(found) == 6)
                    yield asking, feeding
            task.cancel()
