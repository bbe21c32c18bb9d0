"""TLS of the connection to the broker: its files, checked one by one, and taken anew when renewed."""

import ssl

from thermogate.core import tls_files
from thermogate.core.config import first_line
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt_settings import MqttSettings, parse_url


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """A context that trusts `ca_file`, shows `cert_file` and speaks TLS 1.2 or newer.

    Raises ConfigError that names the file which is missing, unreadable or not PEM, or the key that does
    not belong to its certificate. An expired certificate is no error here: the broker refuses it, and
    `core.certificate.read` tells its time.
    """
    context = _trusting(settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file:
        tls_files.show(context, "mqtt", settings.cert_file, settings.key_file)
    elif settings.key_file:
        raise ConfigError(f"mqtt.key_file {settings.key_file}: without mqtt.cert_file it says nothing")
    return context


class Credentials:
    """What the files of certificates and password say; while changed ones will not do, what they said before.

    A renewal writes certificate and key one after the other: in between they do not fit.
    """

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._made_of: tls_files.State = ()
        self.context: ssl.SSLContext | None = None
        """None for a broker without TLS."""
        self.password: str | None = None

    def load(self) -> None:
        """Read the files for the first time. Raises ConfigError."""
        self._read_password()
        if parse_url(self._settings.url)[2]:
            self._read_tls()

    def refresh(self) -> bool:
        """Read what has changed; whether certificates have. Raises ConfigError where it will not do."""
        changed = self.context is not None and self._state() != self._made_of
        try:
            if changed:
                self._refuse_out_of_time()
                self._read_tls()
        finally:  # the one may be good where the other is not
            self._read_password()
        return changed

    def _read_password(self) -> None:
        file = self._settings.password_file
        if file and self._settings.username:
            self.password = first_line(file, "mqtt.password_file")

    def _read_tls(self) -> None:
        state = self._state()  # before they are read: what changes meanwhile is seen next time
        self.context = tls_context(self._settings)
        self._made_of = state

    def _refuse_out_of_time(self) -> None:
        if self._settings.cert_file:
            tls_files.refuse_out_of_time("mqtt", self._settings.cert_file)

    def _state(self) -> tls_files.State:
        settings = self._settings
        trusted = settings.ca_file or ssl.get_default_verify_paths().cafile or ""
        return tls_files.state(trusted, settings.cert_file, settings.key_file)


def _trusting(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        return ssl.create_default_context()
    tls_files.pem("mqtt.ca_file", ca_file, "CERTIFICATE-----")
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as err:
        raise ConfigError(
            f"mqtt.ca_file {ca_file}: holds no certificate in PEM: {tls_files.reason(err)}"
        ) from err
