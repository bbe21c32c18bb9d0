"""Under which names this may be asked, and from where it can be reached. Pure."""

import ipaddress
from collections.abc import Collection

from thermogate.core.errors import ConfigError
from thermogate.dashboard.settings import DashboardSettings, split_listen


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    address = _address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def check_exposure(settings: DashboardSettings) -> None:
    """Raises ConfigError for an address beyond loopback that is open to whoever reaches or overhears it."""
    host, _ = split_listen(settings.listen)
    if settings.key_file and not settings.cert_file:
        raise ConfigError(
            f"dashboard.key_file {settings.key_file}: without dashboard.cert_file it says nothing"
        )
    if is_loopback(host):
        return
    if not settings.tokens_file and not settings.allow_anonymous:
        raise ConfigError(
            f"dashboard.listen {settings.listen}: beyond loopback, but whoever reaches it may ask: set "
            "dashboard.tokens_file (`thermogate tokens create` makes it), or say "
            "dashboard.allow_anonymous=true"
        )
    if not settings.cert_file and not settings.allow_plain_http:
        raise ConfigError(
            f"dashboard.listen {settings.listen}: beyond loopback, but in the clear: set dashboard.cert_file "
            "and key_file, or say dashboard.allow_plain_http=true, as behind a proxy that ends TLS"
        )


def is_ours(host_header: str, names: Collection[str]) -> bool:
    """Whether a browser that sends this Host was led here by one of our names.

    A foreign page can have its own name point to this machine (DNS rebinding), and would then read our
    answers as its own. An address cannot be pointed anywhere else.
    """
    host = host_header.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    host = host.removesuffix(".")
    return bool(host) and (
        _address(host) is not None
        or host == "localhost"
        or host.endswith(".localhost")
        or host in {name.lower() for name in names}
    )


def neighbourhood(address: str) -> str:
    """What counts as one address: of IPv6 the /64, of which one machine may have every address."""
    found = _address(address)
    if found is None or found.version == 4:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
