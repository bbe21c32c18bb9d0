"""`thermogate up`: the whole path on one machine, in one process and a broker beside it."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from thermogate.agent import leftover
from thermogate.agent.app import Agent
from thermogate.agent.feed import Feed
from thermogate.agent.jobs import Jobs
from thermogate.agent.spool import Spool
from thermogate.cli import broker, gating, live, playing, rundir, service, serving, settings
from thermogate.cli.playing import Play
from thermogate.cli.settings import ThermogateSettings, UpSettings
from thermogate.cli.statusline import StatusLine
from thermogate.collector.app import Collector, make_store
from thermogate.core import __version__, logs
from thermogate.core.clock import Clock, SystemClock
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt import MqttSettings
from thermogate.dashboard.app import Dashboard
from thermogate.dashboard.settings import split_listen

_CONNECT_S = 2.0
"""A broker that is not reached by then is waited for while the agents spool."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = commands.add_parser("up", help="run everything on this machine")
    settings.add_arguments(parser)
    parser.add_argument("--listen", metavar="HOST:PORT", help="page and API (default 127.0.0.1:8420)")
    parser.add_argument("--mqtt-listen", metavar="HOST:PORT", help="embedded broker (default 127.0.0.1:1883)")
    parser.add_argument("--broker", metavar="URL", help="use this broker, mqtt://HOST:PORT, and embed none")
    parser.add_argument("--node", help="name of this machine's node (default: its host name)")
    parser.add_argument(
        "--replay",
        action="append",
        default=[],
        metavar="FILE[,speed=N][,node=NAME]",
        help="play a recorded session as a node of its own; any number of times",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C, SIGTERM or --for."""
    loaded = settings.load(
        args,
        mqtt__url=args.broker,
        dashboard__listen=args.listen,
        up__mqtt_listen=args.mqtt_listen,
        agent__node=args.node,
    )
    plays = [playing.parse(text) for text in args.replay]
    logs.setup(loaded.log_level or "WARNING")
    folder = settings.data_dir(loaded)
    with rundir.held(folder):
        up = Up(loaded, folder, plays, embed=args.broker is None, clock=SystemClock())
        return service.serve(up.main, for_s=settings.for_s(args))


class Up:
    """Composes every part. `main` returns when all that was sampled is stored, or time has run out."""

    def __init__(
        self, loaded: ThermogateSettings, data_dir: Path, plays: Sequence[Play], *, embed: bool, clock: Clock
    ) -> None:
        self._settings = loaded
        self._data_dir = data_dir
        self._plays = plays
        self._embed = embed
        self._clock = clock

    async def main(self, stop: asyncio.Event) -> None:
        """Start, say what was found, run until `stop`, and end in the order of the data."""
        service.say(f"thermogate {__version__}")
        async with AsyncExitStack() as stack:
            mqtt, watch = await self._broker(stack)
            feeds = await self._feeds()
            loaded, clock = self._settings, self._clock
            store = await stack.enter_async_context(make_store(loaded.collector, self._data_dir, clock))
            service.report("store", store.description)
            collector = Collector(store, loaded.collector, mqtt, self._data_dir, clock)
            answers = serving.answers(loaded, store, collector, mqtt, clock)
            dashboard = await stack.enter_async_context(Dashboard(answers, loaded.dashboard))
            rundir.announce(self._data_dir, dashboard.url, mqtt.url)
            service.report("gate", gating.modes(loaded))
            service.report("page", dashboard.url)
            gate = stack.enter_context(gating.analytics(loaded, mqtt, self._data_dir, store, clock))
            ends = asyncio.Event()
            line = StatusLine(answers, loaded.up.status_interval_s)
            async with asyncio.TaskGroup() as parts:
                pushing = serving.push_metrics(loaded, answers)
                endless = (watch(), dashboard.run(), line.run(), pushing)
                until_the_end = [parts.create_task(work) for work in endless]
                parts.create_task(collector.run(ends))
                parts.create_task(gate.run(ends))
                await self._connected(collector, stop)
                await self._agents(feeds, mqtt, stop)
                ends.set()
                for task in until_the_end:
                    task.cancel()
            line.close()
        service.say(f"stopped: {collector.counters.samples:,} samples stored")

    async def _broker(
        self, stack: AsyncExitStack
    ) -> tuple[MqttSettings, Callable[[], Coroutine[Any, Any, None]]]:
        """Settings to reach the broker, and what watches over it."""
        if not self._embed:
            service.report("broker", self._settings.mqtt.url)
            return self._settings.mqtt, _nothing
        listen = self._settings.up.mqtt_listen
        host, port = split_listen(listen)
        note = ""
        if listen == UpSettings().mqtt_listen and not broker.port_is_free(host, port):
            note, port = f" ({listen} is taken; --mqtt-listen chooses)", 0
        embedded = await stack.enter_async_context(broker.embedded(host, port))
        service.report("broker", f"embedded, {embedded.url}{note}")
        # it speaks MQTT 3.1.1 only: there is no window to ask for
        mqtt = msgspec.structs.replace(self._settings.mqtt, url=embedded.url, receive_window=0)
        return mqtt, embedded.watch

    async def _feeds(self) -> list[Feed]:
        """This machine's sensors and the recordings, each told in a line. Raises ConfigError."""
        sensors = live.sampler(self._settings.agent, self._clock)
        await sensors.open()
        plays = self._plays
        if not plays and self._settings.up.demo and not any(d.kind == "gpu" for d in sensors.devices()):
            plays = playing.shipped()
        recordings = [playing.feed(play, self._data_dir, self._clock) for play in plays]
        feeds: list[Feed] = [sensors, *recordings]
        names = [feed.node for feed in feeds]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f"two nodes are called {name}: name one with --node or --replay FILE,node=NAME"
                )
        for feed in feeds:
            for found in feed.reports():
                service.report(found.source, f"{feed.node}: {found.text}" if feed.origin else found.text)
        return feeds

    async def _connected(self, collector: Collector, stop: asyncio.Event) -> None:
        """Wait a little for the collector: what is published to nobody comes again only after a while."""
        waits = [asyncio.ensure_future(collector.connected()), asyncio.ensure_future(stop.wait())]
        await asyncio.wait(waits, timeout=_CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _agents(self, feeds: Sequence[Feed], mqtt: MqttSettings, stop: asyncio.Event) -> None:
        """Run an agent a feed until `stop`, and send what an earlier run left in other spools."""
        settings = self._settings.agent
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as agents:
            for feed in feeds:
                spool = stack.enter_context(self._spool(feed.node))
                agent = Agent(feed, spool, settings, mqtt, self._clock, jobs=self._jobs(feed))
                agents.create_task(agent.run(stop))
            for node in self._leftovers({feed.node for feed in feeds}):
                spool = stack.enter_context(self._spool(node))
                agents.create_task(leftover.send(node, spool, settings.uplink, mqtt, self._clock, stop))

    def _jobs(self, feed: Feed) -> Jobs | None:
        """Of this machine's own devices only: a recording has no processes."""
        if feed.origin:
            return None
        file = self._data_dir / "jobs" / f"{feed.node}.json"
        settings = self._settings.agent
        return Jobs(feed.node, settings.jobs, settings.host, file, self._clock)

    def _spool(self, node: str) -> Spool:
        return Spool(self._data_dir / "spool" / node, self._settings.agent.spool)

    def _leftovers(self, running: set[str]) -> list[str]:
        folder = self._data_dir / "spool"
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return [name for name in names if name not in running]


async def _nothing() -> None:
    """A broker of somebody else's needs no watching here: the connections say when it is gone."""
