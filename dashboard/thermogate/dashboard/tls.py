"""TLS of the server: its certificate, and the renewed one for every connection after."""

import logging
import ssl

from thermogate.core import tls_files
from thermogate.core.errors import ConfigError
from thermogate.dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

_SECTION = "dashboard"


class ServerTls:
    """`context` speaks TLS 1.2 or newer with what `cert_file` and `key_file` hold now.

    A renewal writes the two files one after the other: while they do not fit, or are not in time, what
    was read before stays.
    """

    def __init__(self, settings: DashboardSettings) -> None:
        self._cert_file = settings.cert_file
        self._key_file = settings.key_file
        self._seen: tls_files.State = ()
        self._current: ssl.SSLContext | None = None

    def open(self) -> ssl.SSLContext:
        """Read the files for the first time. Raises ConfigError that names what is wrong."""
        self._seen = tls_files.state(self._cert_file, self._key_file)
        self._current = self._made()
        try:
            tls_files.refuse_out_of_time(_SECTION, self._cert_file)
        except ConfigError as err:  # told, and served: who asks sees it, and a clock may be wrong
            log.warning("%s", err)
        self._current.sni_callback = self._choose
        return self._current

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        """Called at every handshake, with or without a name."""
        seen = tls_files.state(self._cert_file, self._key_file)
        if seen != self._seen:
            self._seen = seen
            self._renew()
        if self._current is not None:
            connection.context = self._current

    def _renew(self) -> None:
        try:
            tls_files.refuse_out_of_time(_SECTION, self._cert_file)
            self._current = self._made()
        except ConfigError as err:
            log.warning("the certificate stays as it was: %s", err)
        else:
            log.info("the certificate was renewed from %s", self._cert_file)

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        tls_files.show(context, _SECTION, self._cert_file, self._key_file)
        return context
