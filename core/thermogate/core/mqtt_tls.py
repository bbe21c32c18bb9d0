"""TLS of the connection to the broker: its files, checked one by one, and taken anew when renewed."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from thermogate.core import certificate
from thermogate.core.config import first_line
from thermogate.core.errors import ConfigError
from thermogate.core.mqtt_settings import MqttSettings, parse_url

_State = tuple[tuple[int, int, int] | None, ...]
"""Time of change, inode and size of each file; None where there is none."""


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """A context that trusts `ca_file`, shows `cert_file` and speaks TLS 1.2 or newer.

    Raises ConfigError that names the file which is missing, unreadable or not PEM, or the key that does
    not belong to its certificate. An expired certificate is no error here: the broker refuses it, and
    `core.certificate.read` tells its time.
    """
    context = _trusting(settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file:
        _show(context, settings.cert_file, settings.key_file or settings.cert_file)
    elif settings.key_file:
        raise ConfigError(f"mqtt.key_file {settings.key_file}: without mqtt.cert_file it says nothing")
    return context


class Credentials:
    """What the files of certificates and password say; while changed ones will not do, what they said before.

    A renewal writes certificate and key one after the other: in between they do not fit.
    """

    def __init__(self, settings: MqttSettings) -> None:
        self._settings = settings
        self._made_of: _State = ()
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
        file = self._settings.cert_file
        if not file:
            return
        found, now = _own(file), datetime.now(UTC)
        if not found.not_before <= now <= found.not_after:
            raise ConfigError(
                f"mqtt.cert_file {file}: is valid from {found.not_before:%Y-%m-%d %H:%M} "
                f"to {found.not_after:%Y-%m-%d %H:%M} UTC, and not now by the clock of this machine"
            )

    def _state(self) -> _State:
        settings = self._settings
        trusted = settings.ca_file or ssl.get_default_verify_paths().cafile or ""
        return tuple(_stat(file) for file in (trusted, settings.cert_file, settings.key_file) if file)


def _stat(file: str) -> tuple[int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _trusting(ca_file: str) -> ssl.SSLContext:
    if not ca_file:
        return ssl.create_default_context()
    _pem("mqtt.ca_file", ca_file, "CERTIFICATE-----")
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as err:
        raise ConfigError(f"mqtt.ca_file {ca_file}: holds no certificate in PEM: {_reason(err)}") from err


def _show(context: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    _pem("mqtt.cert_file", cert_file, "CERTIFICATE-----")
    if "ENCRYPTED" in _pem("mqtt.key_file", key_file, "PRIVATE KEY-----"):
        raise ConfigError(f"mqtt.key_file {key_file}: is encrypted: use a key without a passphrase")
    _own(cert_file)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as err:
        if getattr(err, "reason", None) == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"mqtt.key_file {key_file}: is not the key of mqtt.cert_file {cert_file}: renew both together"
            ) from err
        raise ConfigError(
            f"mqtt.cert_file {cert_file} and mqtt.key_file {key_file}: not a pair in PEM: {_reason(err)}"
        ) from err


def _own(cert_file: str) -> certificate.Certificate:
    try:
        return certificate.read(cert_file)
    except ConfigError as err:
        raise ConfigError(f"mqtt.cert_file {err}") from err


def _pem(setting: str, file: str, label: str) -> str:
    """The text of a file that has a PEM block of this label. Raises ConfigError."""
    try:
        text = Path(file).read_text(encoding="ascii", errors="replace")
    except OSError as err:
        raise ConfigError(f"{setting} {file}: cannot be read: {err.strerror}") from err
    if label not in text:
        raise ConfigError(f"{setting} {file}: holds no {label.rstrip('-')} in PEM")
    return text


def _reason(err: ssl.SSLError) -> str:
    return (getattr(err, "reason", None) or str(err)).replace("_", " ").lower()
