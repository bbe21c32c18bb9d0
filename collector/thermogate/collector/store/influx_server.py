"""Which InfluxDB answers, and what of its interface that decides."""

import re
from typing import Literal, Protocol

import msgspec

from thermogate.collector.config import InfluxSettings
from thermogate.core.errors import ConfigError, StoreError

Generation = Literal["1", "2", "3"]

_GENERATIONS: dict[str, Generation] = {"1": "1", "2": "2", "3": "3"}
_V3_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,56}")
"""What 3.x takes, with room for what the rollups append."""


class Answer(msgspec.Struct, frozen=True):
    """What a server said: its status, headers with names in lower case, and the beginning of its body."""

    status: int
    headers: dict[str, str]
    text: str


class Asking(Protocol):
    """The part of `InfluxHttp` that detection needs."""

    async def get(self, path: str) -> Answer:
        """Raises StoreError when nothing answers."""
        ...


class Server(msgspec.Struct, frozen=True):
    """The generation whose interface is spoken, and the server's own name for itself."""

    generation: Generation
    name: str


async def detect(asking: Asking, settings: InfluxSettings) -> Server:
    """Who answers at the URL.

    Raises ConfigError when it is no InfluxDB that the settings are fit for, and StoreError when that
    cannot be told now.
    """
    pong = await asking.get("/ping")
    version = pong.headers.get("x-influxdb-version", "")
    if not version:
        await _refuse_victoria(asking, pong, settings)
    if "questdb" in pong.headers.get("server", "").lower():
        raise ConfigError(f"collector.influx.url {settings.url} is QuestDB, which answers no InfluxQL")
    asked = settings.api
    generation = _GENERATIONS.get(version.lstrip("v")[:1]) if asked == "auto" else asked
    if generation is None:
        raise StoreError(_unknown(settings, pong))
    _check(generation, settings)
    return Server(generation, _name(version, pong.headers.get("x-influxdb-build", ""), generation))


async def _refuse_victoria(asking: Asking, pong: Answer, settings: InfluxSettings) -> None:
    """VictoriaMetrics takes what is written, drops bad lines without a word and answers no InfluxQL."""
    if pong.status < 300:
        metrics = await asking.get("/metrics")
        if "x-server-hostname" in pong.headers or "vm_app_version" in metrics.text:
            raise ConfigError(
                f'collector.influx.url {settings.url} is VictoriaMetrics: set collector.store = "victoria"'
            )


def _check(generation: Generation, settings: InfluxSettings) -> None:
    if generation == "2" and not (settings.token_file and settings.org):
        raise ConfigError(
            "collector.influx: InfluxDB 2.x needs token_file and org"
            ' (for a user of its 1.x interface: username, password_file and api = "1")'
        )
    if generation == "3" and not _V3_NAME.fullmatch(settings.database):
        raise ConfigError(
            f"collector.influx.database: {settings.database!r} is no name for InfluxDB 3:"
            " letters, digits, - and _ only, a letter or digit first, at most 57"
        )


def _unknown(settings: InfluxSettings, pong: Answer) -> str:
    if pong.status in (401, 403):
        return (
            f"{settings.url}: {pong.status} to /ping, as InfluxDB 3 without a valid token"
            " (look at collector.influx.token_file)"
        )
    return (
        f"{settings.url}: {pong.status} to /ping, which does not say which InfluxDB it is;"
        " collector.influx.api does"
    )


def _name(version: str, build: str, generation: Generation) -> str:
    if not version:
        return f"InfluxDB {generation}.x"
    product = f" {build}" if build and build != "OSS" else ""
    return f"InfluxDB{product} {version.removeprefix('v')}"
