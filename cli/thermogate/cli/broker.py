"""The broker that `up` brings along: iotcore (rumqttd), as a child process on loopback."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from iotcore import Broker

from thermogate.core.errors import UnavailableError

_WATCH_S = 1.0


class EmbeddedBroker:
    """`async with embedded(host, port) as broker` runs until the block ends."""

    def __init__(self, broker: Broker, url: str) -> None:
        self._broker = broker
        self.url = url

    async def watch(self) -> None:
        """Return never; raises UnavailableError when the broker process has died."""
        while self._broker.is_running:  # noqa: ASYNC110 - iotcore tells nobody that it died
            await asyncio.sleep(_WATCH_S)
        raise UnavailableError("the embedded MQTT broker died; what was not stored is in the spools")


@asynccontextmanager
async def embedded(host: str, port: int) -> AsyncIterator[EmbeddedBroker]:
    """Start the broker on `host`:`port`; port 0 takes any that is free."""
    port = port or _free_port(host)
    broker = Broker(port=port, listen=host)
    # Ctrl-C reaches every process of the terminal; the broker must outlive the agents' last words.
    # A signal that is ignored when a process starts stays ignored in it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        await asyncio.to_thread(broker.start)
    except (OSError, RuntimeError) as err:
        raise UnavailableError(f"the embedded MQTT broker cannot listen on {host}:{port}: {err}") from err
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield EmbeddedBroker(broker, f"mqtt://{host}:{port}")
    finally:
        await asyncio.to_thread(broker.stop)


def port_is_free(host: str, port: int) -> bool:
    """Whether nobody listens on `host`:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
