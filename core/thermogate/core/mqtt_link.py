"""Connections to the broker, one after another, in a thread of their own, for as long as a client lives."""

import contextlib
import logging
import random
import struct
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from thermogate.core.errors import ConfigError, NotConnectedError
from thermogate.core.mqtt_connection import Connection, Hooks
from thermogate.core.mqtt_explain import LostError, explain, speaks_no_5, taken_over, window_of_its_own
from thermogate.core.mqtt_message import Message, Session
from thermogate.core.mqtt_settings import MqttSettings
from thermogate.core.mqtt_tls import Credentials

log = logging.getLogger(__name__)

_TAKEOVERS = 3
"""So many connections in a row, each accepted and soon ended, are no chance."""
_REMEMBERED = 100
"""So many different problems are told once each until one connection is well; memory has to have a bound."""


class LinkHooks(NamedTuple):
    """Called in the thread of the link."""

    ready: Callable[[Connection, tuple[str, ...]], None]
    """There is a connection that carries; with the topics that the broker denies."""
    received: Callable[[Sequence[Message]], None]
    taken: Callable[[int], None]
    """The broker has the message with this number."""
    gone: Callable[[], None]
    """The connection has ended, if there was one."""
    ended: Callable[[], None]
    """There will be no more."""


class Link:
    """Keeps a connection to the broker, from `start` to `leave`, and says once what is wrong with it.

    `problem` is why there is none now, "" while there is one. `connection` is the one that is being
    made or used.
    """

    def __init__(self, settings: MqttSettings, session: Session, hooks: LinkHooks) -> None:
        self.problem = "not connected yet"
        self.connection: Connection | None = None
        self._settings = settings
        self._session = session
        self._hooks = hooks
        self._credentials = Credentials(settings)
        self._stop = threading.Event()
        self._opening = False
        self._number = 0
        self._waits = Waits(settings.reconnect_min_s, settings.reconnect_max_s)
        self._settle_s = 2 * settings.reconnect_max_s  # whoever takes our place waits no longer between
        self._ready_s: float | None = None
        self._short_count = 0
        self._plain = False
        self._check_s = 0.0
        self._said: set[str] = set()
        self._remarks: set[str] = set()
        self._complaint = ""

    def start(self) -> None:
        """Read the files and begin. Raises ConfigError where URL, certificates or password will not do."""
        self._credentials.load()
        name = f"mqtt-{self._session.client_id}"
        # A daemon: looking up a name may hang for longer than anybody waits at exit.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def leave(self) -> bool:
        """End, after what has been published. Whether `ended` comes soon: not while it is connecting."""
        self._stop.set()
        connection = self.connection
        if connection is not None:
            connection.leave()
        return not self._opening

    def _run(self) -> None:
        wait_s = 0.0
        try:
            while not self._stop.wait(wait_s):
                wait_s = self._connect_once()
        finally:
            self._hooks.ended()

    def _connect_once(self) -> float:
        """One connection from beginning to end; how long to wait until the next.

        A broker that may not speak MQTT 5 is tried with 3.1.1 at once; later with 5 again, as one that is
        just starting hangs up too.
        """
        plain, self._plain = self._plain, False
        try:
            with contextlib.closing(self._new_connection(plain=plain)) as connection:
                self._open(connection)
                connection.serve()
        except (NotConnectedError, OSError, ValueError, LookupError, struct.error) as err:
            if self._session.window and not plain and self._ready_s is None and speaks_no_5(err):
                self._plain = True
                return 0.0
            self._failed(err)
            return self._waits.next()
        finally:
            self.connection = None
            self._hooks.gone()
        return 0.0

    def _new_connection(self, *, plain: bool) -> Connection:
        self._number += 1
        self._ready_s = None
        hooks = Hooks(self._ready, self._hooks.received, self._hooks.taken, self._turn)
        session = self._session._replace(window=0) if plain else self._session
        self.connection = Connection(self._number, self._settings, session, hooks)
        return self.connection

    def _open(self, connection: Connection) -> None:
        self._refresh()
        self._opening = not self._stop.is_set()
        try:
            connection.open(self._credentials.context, self._credentials.password)
        finally:
            self._opening = False

    def _ready(self, connection: Connection, denied: tuple[str, ...]) -> None:
        self._ready_s = time.monotonic()
        self._check_s = self._ready_s + self._until_check_s()
        if self._short_count < _TAKEOVERS:
            self._well()
        if self._session.window and not connection.window:
            self._remark(window_of_its_own(self._settings))
        self._hooks.ready(connection, denied)

    def _turn(self, connection: Connection) -> None:
        now_s = time.monotonic()
        if self._ready_s is None:
            return
        if now_s - self._ready_s >= self._settle_s:
            self._short_count = 0
            self._waits.reset()
            self._well()
        if self._credentials.context is not None and now_s >= self._check_s:
            self._check_s = now_s + self._until_check_s()
            if self._refresh():
                self.problem = f"{self._settings.url}: certificates were renewed; connecting again with them"
                log.info(self.problem)
                connection.leave()

    def _until_check_s(self) -> float:
        return self._settings.tls_check_s * random.uniform(0.5, 1)  # a fleet is renewed all at once

    def _refresh(self) -> bool:
        """Take renewed files; whether certificates were among them. What will not do is told once."""
        complaint, renewed = "", False
        try:
            renewed = self._credentials.refresh()
        except ConfigError as err:
            complaint = f"{err}; what was read before stays in use"
        if complaint and complaint != self._complaint:
            log.warning(complaint)
        self._complaint = complaint
        return renewed

    def _failed(self, error: Exception) -> None:
        text = explain(error, self._settings)
        if isinstance(error, LostError) and self._ready_s is not None:
            lived_s = time.monotonic() - self._ready_s
            self._short_count = self._short_count + 1 if lived_s < self._settle_s else 0
        else:
            self._short_count = 0
        if self._short_count >= _TAKEOVERS:
            text = taken_over(self._session.client_id, self._settings)
        self._say(text)

    def _say(self, text: str) -> None:
        self.problem = text
        if not self._stop.is_set() and text not in self._said:  # not at every attempt
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            self._said.add(text)
            log.warning(text)

    def _remark(self, text: str) -> None:
        """Say once what is no problem."""
        if text not in self._remarks:
            self._remarks.add(text)
            log.warning(text)

    def _well(self) -> None:
        if self.problem:
            self.problem = ""
            self._said.clear()
            log.info("connected to %s", self._settings.url)


class Waits:
    """How long to wait before connecting again: at random up to a bound that doubles."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max(min_s, max_s)
        self._bound_s = min_s

    def next(self) -> float:
        """The next wait, in seconds."""
        self._bound_s = min(2 * self._bound_s, self._max_s)
        return random.uniform(self._min_s, self._bound_s)

    def reset(self) -> None:
        """All is well: begin with short waits again."""
        self._bound_s = self._min_s
