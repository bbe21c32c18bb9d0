"""What a person is told of a store's URL that leads to nobody."""

import os
import ssl
from urllib.parse import urlsplit

import aiohttp

from thermogate.core.errors import ConfigError, StoreError


def check_url(setting: str, url: str) -> None:
    """Raises ConfigError for what is no address of a server."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        sound = False
    if not sound or parts.query or parts.fragment:
        raise ConfigError(f"{setting} {url!r}: expected http://HOST:PORT or https://HOST:PORT")


def unreachable(url: str, err: Exception) -> StoreError:
    """The error of a request that had no answer, with the system's own word for the cause."""
    return StoreError(f"{url} does not answer: {_cause(err)}")


def _cause(err: Exception) -> str:
    match err:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {err.certificate_error}"
        case aiohttp.ClientConnectorError() if isinstance(err.os_error, ssl.SSLError):
            return f"no TLS with it, does it want http://? ({err.os_error.strerror})"
        case aiohttp.ClientConnectorError() if err.os_error.errno and err.os_error.errno > 0:
            return os.strerror(err.os_error.errno)
        case aiohttp.ClientConnectorError():  # of the name, which has numbers of its own
            return err.os_error.strerror or str(err.os_error)
        case TimeoutError():
            return str(err) or "no answer in time"
        case _:
            return str(err) or type(err).__name__
