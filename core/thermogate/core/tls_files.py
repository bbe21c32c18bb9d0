"""Files of TLS, checked one by one: what is wrong is named by its setting, its file and its cure."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from thermogate.core import certificate
from thermogate.core.certificate import Certificate
from thermogate.core.errors import ConfigError

State = tuple[tuple[int, int, int] | None, ...]
"""Time of change, inode and size of each file; None where there is none."""


def show(context: ssl.SSLContext, section: str, cert_file: str, key_file: str) -> None:
    """Let `context` show a certificate; without `key_file` its key stands in `cert_file`.

    Raises ConfigError that names the settings, `section`.cert_file and `section`.key_file: a file is
    missing, unreadable or not PEM, the key is encrypted, or is another certificate's.
    """
    key_file = key_file or cert_file
    pem(f"{section}.cert_file", cert_file, "CERTIFICATE-----")
    if "ENCRYPTED" in pem(f"{section}.key_file", key_file, "PRIVATE KEY-----"):
        raise ConfigError(f"{section}.key_file {key_file}: is encrypted: use a key without a passphrase")
    own(section, cert_file)
    try:
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as err:
        if getattr(err, "reason", None) == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                f"{section}.key_file {key_file}: is not the key of {section}.cert_file {cert_file}: "
                "renew both together"
            ) from err
        raise ConfigError(
            f"{section}.cert_file {cert_file} and {section}.key_file {key_file}: "
            f"not a pair in PEM: {reason(err)}"
        ) from err


def own(section: str, cert_file: str) -> Certificate:
    """What our certificate says. Raises ConfigError."""
    try:
        return certificate.read(cert_file)
    except ConfigError as err:
        raise ConfigError(f"{section}.cert_file {err}") from err


def refuse_out_of_time(section: str, cert_file: str) -> None:
    """Raises ConfigError when our certificate is not valid now."""
    found, now = own(section, cert_file), datetime.now(UTC)
    if not found.not_before <= now <= found.not_after:
        raise ConfigError(
            f"{section}.cert_file {cert_file}: is valid from {found.not_before:%Y-%m-%d %H:%M} "
            f"to {found.not_after:%Y-%m-%d %H:%M} UTC, and not now by the clock of this machine"
        )


def pem(setting: str, file: str, label: str) -> str:
    """The text of a file that has a PEM block of this label. Raises ConfigError."""
    try:
        text = Path(file).read_text(encoding="ascii", errors="replace")
    except OSError as err:
        raise ConfigError(f"{setting} {file}: cannot be read: {err.strerror}") from err
    if label not in text:
        raise ConfigError(f"{setting} {file}: holds no {label.rstrip('-')} in PEM")
    return text


def reason(err: ssl.SSLError) -> str:
    """What OpenSSL says, in words."""
    return (getattr(err, "reason", None) or str(err)).replace("_", " ").lower()


def state(*files: str) -> State:
    """Of the files that are named, to see whether they have changed."""
    return tuple(_stat(file) for file in files if file)


def _stat(file: str) -> tuple[int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
